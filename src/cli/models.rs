//! `facedex models`: fetch the model files and ONNX Runtime, list them, say where they are.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use facedex_face::models::catalog::{Catalog, CatalogError, Ensemble, Model, Provider, RuntimeFacts};
use facedex_face::models::fetch::{
    FetchError, Placed, Places, Report, State, fetch, file_digest, library_state, model_state,
};
use serde::Serialize;

use super::{SUCCESS, compare, show};
use crate::config::GlobalArgs;
use crate::error::Error;

/// What `facedex models` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ModelsCommand {
    /// Download, check and prepare the models and ONNX Runtime; quick when they are there
    Fetch {
        /// Models to fetch instead of the default ones, or instead of those that --detector and --embedder name
        #[arg(value_name = "MODEL")]
        names: Vec<String>,
    },
    /// Show every model with its licence and whether its file is there
    List,
    /// Measure models on pairs of your own photos, and print them side by side
    Compare(compare::CompareArgs),
    /// Print where files belong
    Path {
        /// Which path
        #[arg(value_enum, default_value = "models")]
        what: What,
    },
}

/// A path that can be asked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum What {
    /// The folder of the model files
    Models,
    /// ONNX Runtime's shared library
    Runtime,
    /// The folder for what can be fetched again
    Cache,
}

#[derive(Serialize)]
struct Listing<'a> {
    models_dir: PathBuf,
    models: Vec<Listed<'a>>,
    ensembles: &'a [Ensemble],
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
    /// Of the library that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

#[derive(Serialize)]
struct Paths<'a> {
    models: &'a Path,
    runtime: &'a Path,
    cache: &'a Path,
}

/// Results go to standard output, progress to standard error.
pub(super) fn run(command: &ModelsCommand, global: &GlobalArgs) -> Result<u8, Error> {
    let catalog = super::catalog(global)?;
    let places = Places::from_environment(&catalog, global.models_dir.as_deref(), global.engine.provider)?;
    match command {
        ModelsCommand::Fetch { names } => {
            let recipe = super::recipe(global)?;
            let models = if names.is_empty() {
                recipe.models()
            } else {
                with_parts(&catalog, names)?
            };
            let say = &mut |step: &str| crate::terminal::note(step);
            // OpenVINO is done without where it cannot be used: ONNX Runtime is there in any case.
            let plain = Places::from_environment(&catalog, global.models_dir.as_deref(), Provider::Cpu)?;
            let mut report = fetch(&models, &plain, say)?;
            if places.library != plain.library {
                match fetch(&[], &places, say) {
                    Ok(more) => report.files.extend(more.files),
                    Err(error @ FetchError::NoPlatform { .. }) => say(&format!("warning: {error}")),
                    Err(error) => return Err(error.into()),
                }
            }
            show(global, &report, || fetched(&report))?;
        }
        ModelsCommand::List => {
            let listing = listing(&catalog, &places)?;
            show(global, &listing, || table(&listing) + "\n")?;
        }
        ModelsCommand::Compare(args) => return compare::run(args, global),
        ModelsCommand::Path { what } => {
            let text = match what {
                What::Models => &places.models,
                What::Runtime => &places.library,
                What::Cache => &places.cache,
            };
            let paths = Paths {
                models: &places.models,
                runtime: &places.library,
                cache: &places.cache,
            };
            show(global, &paths, || format!("{}\n", text.display()))?;
        }
    }
    Ok(SUCCESS)
}

/// The models of these names; of an ensemble or a detector in stages all of its parts.
fn with_parts<'c>(catalog: &'c Catalog, names: &[String]) -> Result<Vec<&'c Model>, CatalogError> {
    let mut models = Vec::new();
    for name in names {
        match catalog.ensembles.iter().find(|ensemble| ensemble.name == *name) {
            Some(ensemble) => {
                for member in &ensemble.members {
                    models.push(catalog.model(&member.model)?);
                }
            }
            None => {
                let model = catalog.model(name)?;
                models.push(model);
                for stage in model.detector.iter().flat_map(|detector| &detector.stages) {
                    models.push(catalog.model(stage)?);
                }
            }
        }
    }
    Ok(models)
}

fn fetched(report: &Report) -> String {
    let line = |file: &Placed| {
        let what = if file.fetched { "fetched" } else { "already there" };
        format!("{}: {what}: {}\n", file.name, file.path.display())
    };
    report.files.iter().map(line).collect()
}

fn listing<'a>(catalog: &'a Catalog, places: &'a Places) -> Result<Listing<'a>, FetchError> {
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
        ensembles: &catalog.ensembles,
        runtime: ListedRuntime {
            facts: &places.runtime,
            path: places.library.clone(),
            state: library_state(places)?,
            sha256: file_digest(&places.library)?,
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
    for ensemble in listing.ensembles {
        let members: Vec<&str> = ensemble.members.iter().map(|member| member.model.as_str()).collect();
        table.add_row([
            ensemble.name.clone(),
            "embedder".to_owned(),
            "its members'".to_owned(),
            ensemble.embedder.space.clone(),
            ensemble.embedder.dims.to_string(),
            members.join(" and "),
            "-".to_owned(),
        ]);
    }
    let ListedRuntime { facts, path, state, .. } = &listing.runtime;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_shows_what_is_missing_and_whose_licence_it_is() {
        let catalog = Catalog::builtin().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let places = Places {
            models: folder.path().join("models"),
            runtime: catalog.runtime(Provider::Cpu).clone(),
            library: folder.path().join("lib.so"),
            library_is_given: false,
            cache: folder.path().to_owned(),
            python: "python3".into(),
        };
        std::fs::create_dir(&places.models).unwrap();
        std::fs::write(places.models.join("yunet_2023mar.onnx"), "mine").unwrap();
        let listing = listing(&catalog, &places).unwrap();
        let table = table(&listing);
        let row = |name: &str| {
            table
                .lines()
                .find(|line| line.trim_start().starts_with(name))
                .unwrap_or_default()
        };
        assert!(row("yunet-2023mar").ends_with("unknown digest"), "{table}");
        let embedder = row("sface-2021dec ");
        for text in ["embedder", "Apache-2.0", "sface-2021dec@arcface-112", "128", "missing"] {
            assert!(embedder.contains(text), "{table}");
        }
        let json = serde_json::to_value(&listing).unwrap();
        assert_eq!(json["models"][0]["state"], "unknown");
        assert_eq!(json["models"][2]["embedder"]["dims"], 128);
        assert_eq!(json["runtime"]["state"], "missing");
    }
}
