//! `facedex models`: fetch the model files and ONNX Runtime, list them, say where they are.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::models::catalog::{Catalog, CatalogError, Model, RuntimeFacts};
use crate::models::fetch::{FetchError, Places, State, fetch, library_state, model_state};

/// What `facedex models` does.
#[derive(Debug, clap::Subcommand)]
pub enum ModelsCommand {
    /// Download, check and prepare the models and ONNX Runtime; quick when they are there
    Fetch {
        /// Models to fetch instead of the default ones
        #[arg(value_name = "MODEL")]
        names: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Show every model with its licence and whether its file is there
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Print where files belong
    Path {
        /// Which path
        #[arg(value_enum, default_value = "models")]
        what: What,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the models are.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The folder of the model files [default: models/ in the cache]
    #[arg(long, value_name = "DIR", env = "FACEDEX_MODELS_DIR")]
    models_dir: Option<PathBuf>,
}

/// A path that can be asked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum What {
    /// The folder of the model files
    Models,
    /// ONNX Runtime's shared library
    Runtime,
    /// The folder for what can be fetched again
    Cache,
}

/// Why `facedex models` failed.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The catalog, or a folder, is unusable.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Fetching, or looking at a file, failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The result cannot be printed.
    #[error("cannot write the result to standard output: {0}")]
    Output(#[from] std::io::Error),
    /// The result cannot be written as JSON.
    #[error("cannot write the result as json: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Listing<'a> {
    models_dir: PathBuf,
    models: Vec<Listed<'a>>,
    runtime: ListedRuntime<'a>,
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    model: &'a Model,
    default: bool,
    path: PathBuf,
    state: State,
}

#[derive(Serialize)]
struct ListedRuntime<'a> {
    #[serde(flatten)]
    facts: &'a RuntimeFacts,
    path: PathBuf,
    state: State,
}

#[derive(Serialize)]
struct Paths {
    models: PathBuf,
    runtime: PathBuf,
    cache: PathBuf,
}

/// Runs the command; results go to standard output, progress to standard error.
pub fn run(command: &ModelsCommand, json: bool) -> Result<ExitCode, ModelsError> {
    let catalog = Catalog::builtin()?;
    let (ModelsCommand::Fetch { place, .. } | ModelsCommand::List { place } | ModelsCommand::Path { place, .. }) =
        command;
    let places = Places::from_environment(&catalog, place.models_dir.as_deref())?;
    let text = match command {
        ModelsCommand::Fetch { names, .. } => fetch_models(&catalog, names, &places, json)?,
        ModelsCommand::List { .. } => {
            let listing = listing(&catalog, &places)?;
            if json {
                serde_json::to_string(&listing)?
            } else {
                table(&listing)
            }
        }
        ModelsCommand::Path { what, .. } => paths(places, *what, json)?,
    };
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn fetch_models(catalog: &Catalog, names: &[String], places: &Places, json: bool) -> Result<String, ModelsError> {
    let models = if names.is_empty() {
        catalog.defaults().to_vec()
    } else {
        names.iter().map(|name| catalog.model(name)).collect::<Result<_, _>>()?
    };
    let report = fetch(catalog, &models, places, &mut |step| eprintln!("{step}"))?;
    if json {
        return Ok(serde_json::to_string(&report)?);
    }
    let line = |file: &crate::models::fetch::Placed| {
        let what = if file.fetched { "fetched" } else { "already there" };
        format!("{}: {what}: {}", file.name, file.path.display())
    };
    Ok(report.files.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn listing<'a>(catalog: &'a Catalog, places: &Places) -> Result<Listing<'a>, ModelsError> {
    let defaults = catalog.defaults().map(|model| &model.name);
    let listed = |model: &'a Model| -> Result<Listed<'a>, FetchError> {
        Ok(Listed {
            default: defaults.contains(&&model.name),
            path: places.models.join(&model.file),
            state: model_state(model, places)?,
            model,
        })
    };
    Ok(Listing {
        models_dir: places.models.clone(),
        models: catalog.models.iter().map(listed).collect::<Result<_, _>>()?,
        runtime: ListedRuntime {
            facts: &catalog.runtime,
            path: places.library.clone(),
            state: library_state(catalog, places)?,
        },
    })
}

fn table(listing: &Listing<'_>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["NAME", "ROLE", "LICENCE", "SPACE", "DIMS", "FILE", "STATE"]);
    for Listed { model, state, .. } in &listing.models {
        let (space, dims) = match &model.embedder {
            Some(embedder) => (embedder.space.clone(), embedder.dims.to_string()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let (name, role, licence) = (model.name.clone(), model.role.to_string(), model.licence.clone());
        table.add_row([name, role, licence, space, dims, model.file.clone(), state.to_string()]);
    }
    let ListedRuntime { facts, path, state } = &listing.runtime;
    let file = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    table.add_row([
        format!("{} {}", facts.name, facts.version),
        "runtime".to_owned(),
        facts.licence.clone(),
        "-".to_owned(),
        "-".to_owned(),
        file,
        state.to_string(),
    ]);
    table.trim_fmt()
}

fn paths(places: Places, what: What, json: bool) -> Result<String, ModelsError> {
    if json {
        return Ok(serde_json::to_string(&Paths {
            models: places.models,
            runtime: places.library,
            cache: places.cache,
        })?);
    }
    let path = match what {
        What::Models => places.models,
        What::Runtime => places.library,
        What::Cache => places.cache,
    };
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_shows_what_is_missing_and_whose_licence_it_is() {
        let catalog = Catalog::builtin().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let places = Places {
            models: folder.path().join("models"),
            library: folder.path().join("lib.so"),
            library_is_given: false,
            cache: folder.path().to_owned(),
            python: "python3".into(),
        };
        std::fs::create_dir(&places.models).unwrap();
        std::fs::write(places.models.join("yunet_2023mar.onnx"), "mine").unwrap();
        let listing = listing(&catalog, &places).unwrap();
        let table = table(&listing);
        let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert!(row("yunet-2023mar").ends_with("unknown digest"), "{table}");
        let embedder = row("sface-2021dec");
        for text in ["embedder", "Apache-2.0", "sface-2021dec@arcface-112", "128", "missing"] {
            assert!(embedder.contains(text), "{table}");
        }
        let json = serde_json::to_value(&listing).unwrap();
        assert_eq!(json["models"][0]["state"], "unknown");
        assert_eq!(json["models"][2]["embedder"]["fmr"][1][1], 0.372);
        assert_eq!(json["runtime"]["state"], "missing");
    }
}
