//! Settings: built-in defaults, then `facedex.toml`, then the environment, then flags.
//!
//! A key of the file is the long name of a flag. Keys at the top set that flag wherever it exists; a table named after
//! a command (`[ingest]`, `[search]`) sets it for that command alone. The values become the flags' defaults, so that
//! there is one place that knows each setting, and `--help` shows what is in force.

mod elasticsearch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Command, ValueEnum};
use facedex_face::Precision;
use facedex_face::image::Limits;
use facedex_face::models::catalog::Provider;
use toml::{Table, Value};

pub use self::elasticsearch::{ElasticsearchArgs, parse_url};

/// The file that is read from the working directory if there is one.
const DEFAULT_FILE: &str = "facedex.toml";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named cannot be read.
    #[error("cannot read the configuration file {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A key is no flag.
    #[error(
        "{path}: {key:?} is no setting; keys are the long names of flags, in a table named after a command or at the top, those of facedex-bench in [bench]"
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A value has a type that no flag takes.
    #[error("{path}: the value of {key:?} must be a string, a number, true, false or a list of strings")]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// An address is none. It is not shown, since it may hold a password.
    #[error("{setting} is no address: {reason}; expected http://HOST:PORT or https://HOST:PORT")]
    BadUrl {
        /// The flag and the variable.
        setting: &'static str,
        /// Why not.
        reason: String,
    },
    /// An API key and a user name were given.
    #[error("give one kind of credentials for elasticsearch: an API key, a user name and password, or a bearer token")]
    TwoLogins,
    /// Addresses were given in two ways.
    #[error("give either --elasticsearch-url or --elasticsearch-cloud-id, not both")]
    TwoAddresses,
    /// Authorities were given in two ways.
    #[error("give either --elasticsearch-ca-file or --elasticsearch-ca-fingerprint, not both")]
    TwoAuthorities,
    /// A cloud id is none.
    #[error("--elasticsearch-cloud-id is no cloud id: {0}; copy it from the deployment's page")]
    BadCloudId(String),
}

/// Settings that every command takes.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Read settings from this file [default: facedex.toml in the working directory, if there is one]
    #[arg(long, global = true, env = "FACEDEX_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print results as JSON, the last line being the result object
    #[arg(long, global = true)]
    pub json: bool,

    /// Form of the log on standard error
    #[arg(
        long,
        global = true,
        env = "FACEDEX_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// What to log: error, warn, info, debug, or rules such as facedex=debug
    #[arg(
        long,
        global = true,
        env = "FACEDEX_LOG",
        value_name = "RULES",
        default_value = "warn,ort=error"
    )]
    pub log: String,

    /// Folder of the model files [default: models in ~/.cache/facedex]
    #[arg(long, global = true, env = "FACEDEX_MODELS_DIR", value_name = "DIR")]
    pub models_dir: Option<PathBuf>,

    /// Which models look at photos.
    #[command(flatten)]
    pub engine: EngineArgs,

    /// How to reach Elasticsearch.
    #[command(flatten)]
    pub elasticsearch: ElasticsearchArgs,
}

/// Which models look at photos, and how much work they do.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Models")]
pub struct EngineArgs {
    /// How much work goes into a photo; vectors of all three can be compared
    #[arg(
        long,
        global = true,
        env = "FACEDEX_PRECISION",
        value_name = "HOW",
        default_value = "balanced"
    )]
    pub precision: Precision,

    /// What turns faces into vectors, by the name that `facedex models list` shows; a collection holds vectors of one
    /// embedder [default: sface-2021dec]
    #[arg(long, global = true, env = "FACEDEX_EMBEDDER", value_name = "MODEL")]
    pub embedder: Option<String>,

    /// What finds faces [default: yunet-2023mar]
    #[arg(long, global = true, env = "FACEDEX_DETECTOR", value_name = "MODEL")]
    pub detector: Option<String>,

    /// What runs the embedder: ONNX Runtime's own kernels (cpu), or OpenVINO (`facedex models fetch --provider openvino`)
    #[arg(
        long,
        global = true,
        env = "FACEDEX_PROVIDER",
        value_name = "WHAT",
        default_value = "cpu",
        hide_possible_values = true
    )]
    pub provider: Provider,

    /// Models and calibrations besides those that are built in [default: catalog.toml in the models' folder]
    #[arg(long, global = true, env = "FACEDEX_CATALOG", value_name = "FILE")]
    pub catalog: Option<PathBuf>,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What a photo may cost.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct PhotoLimitArgs {
    /// Largest photo file, in bytes
    #[arg(long, env = "FACEDEX_MAX_IMAGE_BYTES", value_name = "BYTES", default_value_t = Limits::default().max_bytes)]
    pub max_image_bytes: u64,

    /// Largest photo, in pixels (width x height)
    #[arg(long, env = "FACEDEX_MAX_IMAGE_PIXELS", value_name = "PIXELS", default_value_t = Limits::default().max_pixels)]
    pub max_image_pixels: u64,
}

impl From<&PhotoLimitArgs> for Limits {
    fn from(args: &PhotoLimitArgs) -> Self {
        Self {
            max_bytes: args.max_image_bytes,
            max_pixels: args.max_image_pixels,
        }
    }
}

/// The table of the file that `facedex-bench` reads, and nobody else.
const BENCH: &str = "bench";

/// Makes the values of the configuration file the defaults of the command's flags. The file is the one that
/// `arguments` or the environment name, else `facedex.toml`; it is given back where there is one.
///
/// `facedex-bench` shares the file and gives `facedex` as its kin: its own settings stand in `[bench]`, of those at the top it takes
/// what it has, and what its kin alone has is passed over.
pub fn with_file(
    command: Command,
    kin: Option<Command>,
    arguments: &[std::ffi::OsString],
) -> Result<(Command, Option<PathBuf>), ConfigError> {
    let named = named_file(arguments);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok((command, None)),
        Err(error) => {
            return Err(ConfigError::Unreadable {
                path,
                reason: error.to_string(),
            });
        }
    };
    let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Unreadable {
        path: path.clone(),
        // Without the line itself, which may hold a password.
        reason: match error.span() {
            Some(span) => format!(
                "line {}: {}",
                text[..span.start].lines().count().max(1),
                error.message()
            ),
            None => error.message().to_owned(),
        },
    })?;
    let mut table = without_rivals(table, &given(&command, arguments));
    let of_bench = table.get(BENCH).and_then(Value::as_table).cloned();
    if of_bench.is_some() {
        table.remove(BENCH);
    }
    if let Some(kin) = kin {
        let is_kins = |key: &str, value: &Value| match value {
            Value::Table(_) => kin.get_subcommands().any(|sub| sub.get_name() == key),
            _ => !has_flag(&command, key) && has_flag(&kin, key),
        };
        table.retain(|key, value| !is_kins(key, value));
        table.extend(of_bench.unwrap_or_default());
    }
    Ok((apply(command, &table, &path)?, Some(path)))
}

/// Settings of which one excludes the other: a flag or variable for one also overrides the file's value for the other.
const RIVALS: [(&str, &str); 11] = [
    ("events", "no-events"),
    ("replace", "overwrite"),
    ("min-similarity", "max-fpir"),
    ("min-similarity", "max-fmr"),
    ("elasticsearch-url", "elasticsearch-cloud-id"),
    ("elasticsearch-ca-file", "elasticsearch-ca-fingerprint"),
    ("elasticsearch-api-key", "elasticsearch-username"),
    ("elasticsearch-api-key", "elasticsearch-password"),
    ("elasticsearch-api-key", "elasticsearch-bearer-token"),
    ("elasticsearch-bearer-token", "elasticsearch-username"),
    ("elasticsearch-bearer-token", "elasticsearch-password"),
];

/// Whether the command, or one below it, has such a flag.
fn has_flag(command: &Command, key: &str) -> bool {
    set_default(command.clone(), key, &[]).1
}

/// Which of the rivals the command line or the environment gives.
fn given(command: &Command, arguments: &[std::ffi::OsString]) -> BTreeSet<&'static str> {
    let is_given = |name: &&str| {
        let flag = format!("--{name}");
        let on_line = |argument: &std::ffi::OsString| {
            let text = argument.to_string_lossy();
            text == flag.as_str() || text.starts_with(&format!("{flag}="))
        };
        let variable = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(name));
        let value = variable.and_then(clap::Arg::get_env).and_then(std::env::var_os);
        arguments.iter().any(on_line) || value.is_some_and(|value| !value.is_empty())
    };
    RIVALS.iter().flat_map(|&(a, b)| [a, b]).filter(is_given).collect()
}

fn without_rivals(table: Table, given: &BTreeSet<&str>) -> Table {
    let is_beaten = |key: &str| {
        let rivals = RIVALS.iter().filter_map(|&(a, b)| match key {
            _ if key == a => Some(b),
            _ if key == b => Some(a),
            _ => None,
        });
        !given.contains(key) && rivals.into_iter().any(|rival| given.contains(rival))
    };
    table
        .into_iter()
        .filter(|(key, _)| !is_beaten(key))
        .map(|(key, value)| match value {
            Value::Table(inner) => (key, Value::Table(without_rivals(inner, given))),
            value => (key, value),
        })
        .collect()
}

fn named_file(arguments: &[std::ffi::OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        if text == "--config" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os("FACEDEX_CONFIG")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// Sets the defaults of a command and of its subcommands from a table.
fn apply(mut command: Command, table: &Table, path: &Path) -> Result<Command, ConfigError> {
    let subcommands: BTreeSet<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    // Tables last: what is said for one command goes before what is said for all.
    let (tables, flags): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    for (key, value) in flags.into_iter().chain(tables) {
        if let Value::Table(inner) = value {
            if !subcommands.contains(key) {
                return Err(unknown(path, key));
            }
            let mut outcome = Ok(());
            command = command.mut_subcommand(key, |sub| {
                let untouched = sub.clone();
                apply(sub, inner, path).unwrap_or_else(|error| {
                    outcome = Err(error);
                    untouched
                })
            });
            outcome?;
            continue;
        }
        let values = values(value).ok_or_else(|| ConfigError::BadValue {
            path: path.to_owned(),
            key: key.clone(),
        })?;
        let (changed, known) = set_default(command, key, &values);
        if !known || key == "config" {
            return Err(unknown(path, key));
        }
        command = changed;
    }
    Ok(command)
}

/// Sets one flag's default in the command and everywhere below it; says whether there is such a flag.
fn set_default(command: Command, key: &str, values: &[String]) -> (Command, bool) {
    let mut known = false;
    let id = command
        .get_arguments()
        // `collection status NAME` has no flag, but it names the same thing.
        .find(|argument| argument.get_long() == Some(key) || (argument.is_positional() && argument.get_id() == key))
        .map(|argument| argument.get_id().clone());
    let mut command = match id {
        Some(id) => {
            known = true;
            command.mut_arg(id, |argument| argument.default_values(values.to_vec()))
        }
        None => command,
    };
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| {
            let (sub, found) = set_default(sub, key, values);
            known |= found;
            sub
        });
    }
    (command, known)
}

fn unknown(path: &Path, key: &str) -> ConfigError {
    ConfigError::UnknownKey {
        path: path.to_owned(),
        key: key.to_owned(),
    }
}

fn values(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Float(number) => Some(vec![number.to_string()]),
        Value::Boolean(flag) => Some(vec![flag.to_string()]),
        Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction};

    fn command() -> Command {
        let k = || Arg::new("k").long("k").default_value("10");
        Command::new("facedex")
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue))
            .subcommand(Command::new("search").arg(k()).arg(Arg::new("zeal").long("zeal")))
            .subcommand(Command::new("identify").arg(k()))
    }

    fn parse(text: &str, arguments: &[&str]) -> Result<clap::ArgMatches, ConfigError> {
        let command = apply(command(), &text.parse().unwrap(), Path::new("f.toml"))?;
        Ok(command.try_get_matches_from(arguments).unwrap())
    }

    fn k(matches: &clap::ArgMatches) -> &str {
        let (_, sub) = matches.subcommand().unwrap();
        sub.get_one::<String>("k").unwrap()
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let text = "json = true\nk = 7\n[identify]\n[search]\nk = 8";
        let matches = parse(text, &["facedex", "search"]).unwrap();
        assert_eq!((k(&matches), matches.get_flag("json")), ("8", true));
        assert_eq!(k(&parse(text, &["facedex", "identify"]).unwrap()), "7");
        assert_eq!(k(&parse(text, &["facedex", "search", "--k", "9"]).unwrap()), "9");
        assert_eq!(k(&parse("", &["facedex", "search"]).unwrap()), "10");
        // Also where the flag's name comes after the command's in the alphabet.
        let matches = parse("zeal = 1\n[search]\nzeal = 2", &["facedex", "search"]).unwrap();
        assert_eq!(matches.subcommand().unwrap().1.get_one::<String>("zeal").unwrap(), "2");
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        for text in ["kk = 1", "[search]\njson = true", "[serch]\nk = 1", "config = \"x\""] {
            let error = parse(text, &["facedex", "search"]).unwrap_err().to_string();
            assert!(error.contains("is no setting"), "{text}: {error}");
        }
        assert!(parse("k = [1, 2]", &["facedex", "search"]).is_err());
    }
}
