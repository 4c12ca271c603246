//! `facedex keys`: make, show and revoke the API keys of `facedex serve`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use facedex_face::models::catalog;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{NEGATIVE, SUCCESS, print_json, print_text, show, tables};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::server::access::KeysError;
use crate::server::access::file::KeyFile;
use crate::server::access::keys::{Collections, Key, Scope, Standing};
use crate::terminal;

/// Which keys file.
#[derive(Debug, Args)]
pub(super) struct KeysFileArg {
    /// File of the API keys; replicas share it [default: keys.json in ~/.local/state/facedex]
    #[arg(long, env = "FACEDEX_KEYS", value_name = "FILE")]
    keys: Option<PathBuf>,
}

impl KeysFileArg {
    /// The file, and whether the user named it.
    pub(super) fn file(&self) -> Result<(KeyFile, bool), Error> {
        // A variable that is set and empty is how scripts unset one.
        match self.keys.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => Ok((KeyFile::new(path.clone()), true)),
            None => Ok((KeyFile::new(catalog::state_dir()?.join("keys.json")), false)),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key and print it, once
    ///
    /// Prints the key on standard output. Only its SHA-256 is stored: a key that is lost is replaced by a new one. The
    /// first key closes a running `facedex serve` to everybody who has none.
    Create(CreateArgs),
    /// Show all keys, without their secrets
    List(KeysFileArg),
    /// Take a key back
    ///
    /// Running servers refuse it within two seconds. Exit code 1 if it was revoked before.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The new key's name, by which the audit log calls it
    #[arg(id = "key_name", value_name = "NAME")]
    name: String,

    /// What it may do
    #[arg(long, value_enum, default_value_t = Scope::Read)]
    scope: Scope,

    /// A collection that it may use (repeat for several), or '*' for all
    // Checked by hand: a flag that the parser requires could have no default in facedex.toml.
    #[arg(id = "key_collections", long = "collection", short = 'c', value_name = "NAME")]
    collections: Vec<String>,

    /// How long it is good, such as 90d; without it until it is revoked
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,

    #[command(flatten)]
    file: KeysFileArg,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The key's name
    #[arg(id = "key_name", value_name = "NAME")]
    name: String,

    #[command(flatten)]
    file: KeysFileArg,
}

/// A key without what identifies its secret.
#[derive(Serialize)]
pub(super) struct Listed<'a> {
    pub(super) name: &'a str,
    pub(super) scope: Scope,
    pub(super) collections: &'a Collections,
    pub(super) created: Timestamp,
    pub(super) expires: Option<Timestamp>,
    pub(super) revoked: Option<Timestamp>,
    pub(super) state: Standing,
}

impl<'a> Listed<'a> {
    fn new(key: &'a Key, now: Timestamp) -> Self {
        Self {
            name: &key.name,
            scope: key.scope,
            collections: &key.collections,
            created: key.created,
            expires: key.expires,
            revoked: key.revoked,
            state: key.standing(now),
        }
    }
}

#[derive(Serialize)]
struct List<'a> {
    file: &'a Path,
    keys: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
    file: &'a Path,
    #[serde(flatten)]
    listed: Listed<'a>,
}

#[derive(Serialize)]
struct Revoked<'a> {
    name: &'a str,
    revoked: Timestamp,
    before: bool,
}

pub(super) fn run(command: &KeysCommand, global: &GlobalArgs) -> Result<u8, Error> {
    match command {
        KeysCommand::Create(args) => create(args, global),
        KeysCommand::List(file) => list(file, global),
        KeysCommand::Revoke(args) => revoke(args, global),
    }
}

fn create(args: &CreateArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let (file, _) = args.file.file()?;
    let collections = Collections::try_from(args.collections.clone())?;
    let (key, secret) = Key::create(&args.name, args.scope, collections, args.expires)?;
    file.edit(|keys| {
        keys.push(key.clone());
        Ok(())
    })?;
    if global.json {
        print_json(&Created {
            key: secret.expose_secret(),
            file: file.path(),
            listed: Listed::new(&key, key.created),
        })?;
        return Ok(SUCCESS);
    }
    // The key alone goes to standard output, so that a script can take it.
    print_text(&format!("{}\n", secret.expose_secret()))?;
    let until = key
        .expires
        .map_or("until it is revoked".to_owned(), |time| format!("until {time}"));
    terminal::note(&format!(
        "key {}: {} on {}, good {until}; send it as X-API-Key. It is not shown again: only its SHA-256 is in {}",
        key.name,
        key.scope,
        key.collections,
        file.path().display()
    ));
    Ok(SUCCESS)
}

fn list(file: &KeysFileArg, global: &GlobalArgs) -> Result<u8, Error> {
    let (file, named) = file.file()?;
    let keys = match file.read()? {
        Some(keys) => keys,
        None if named => return Err(KeysError::Missing(file.path().to_owned()).into()),
        None => Vec::new(),
    };
    let now = Timestamp::now();
    let list = List {
        file: file.path(),
        keys: keys.iter().map(|key| Listed::new(key, now)).collect(),
    };
    show(global, &list, || tables::keys(&list.keys))?;
    Ok(SUCCESS)
}

fn revoke(args: &RevokeArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let (file, _) = args.file.file()?;
    if file.read()?.is_none() {
        return Err(KeysError::Missing(file.path().to_owned()).into());
    }
    let (revoked, before) = file.edit(|keys| {
        let key = keys.iter_mut().find(|key| key.name == args.name);
        let key = key.ok_or_else(|| KeysError::NoSuchKey(args.name.clone()))?;
        let before = key.revoked.is_some();
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        Ok((*key.revoked.get_or_insert(now), before))
    })?;
    let answer = Revoked {
        name: &args.name,
        revoked,
        before,
    };
    show(global, &answer, || match before {
        true => format!("key {} was revoked already, at {revoked}\n", args.name),
        false => format!(
            "revoked key {}; running servers refuse it within two seconds\n",
            args.name
        ),
    })?;
    Ok(if before { NEGATIVE } else { SUCCESS })
}
