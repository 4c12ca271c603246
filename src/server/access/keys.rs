//! API keys: what one may do, and how a presented one is recognised.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::ValueEnum;
use facedex_elastic::schema::collection;
use jiff::{SignedDuration, Timestamp};
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::KeysError;

/// What every key begins with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "fdx_";
/// Random bytes of a key.
const RANDOM: usize = 32;
/// Characters of a key: the prefix, and the bytes in base64url without padding.
const LENGTH: usize = PREFIX.len() + (RANDOM * 8).div_ceil(6);
/// The longest name of a key.
const LONGEST_NAME: usize = 64;

/// What a key may do; each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Search, identify, verify, represent, look at faces and persons, and everything under /es/
    Read,
    /// Also enrol, delete a face, rename a person
    Write,
    /// Also delete a person with every face
    Admin,
}

impl Scope {
    /// Its name in keys and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The collections that a key may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Collections {
    /// All, also those that will be made later.
    All,
    /// These.
    Named(BTreeSet<String>),
}

impl Collections {
    /// Whether this collection is among them.
    pub fn allow(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

impl TryFrom<Vec<String>> for Collections {
    type Error = KeysError;

    fn try_from(names: Vec<String>) -> Result<Self, KeysError> {
        if names.is_empty() {
            return Err(KeysError::NoCollections);
        }
        for name in names.iter().filter(|name| *name != "*") {
            collection::check_name(name).map_err(|error| KeysError::BadCollection(error.to_string()))?;
        }
        Ok(if names.iter().any(|name| name == "*") {
            Self::All
        } else {
            Self::Named(names.into_iter().collect())
        })
    }
}

impl From<Collections> for Vec<String> {
    fn from(collections: Collections) -> Self {
        match collections {
            Collections::All => vec!["*".to_owned()],
            Collections::Named(names) => names.into_iter().collect(),
        }
    }
}

impl fmt::Display for Collections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Vec::from(self.clone()).join(", "))
    }
}

/// The SHA-256 of a key, which is all that is kept of it. A key has 256 random bits: a slow hash would protect no better.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of what a client presents; `None` where that cannot be a key.
    pub fn of(presented: &[u8]) -> Option<Self> {
        let plausible = presented.len() == LENGTH && presented.starts_with(PREFIX.as_bytes());
        plausible.then(|| Self(Sha256::digest(presented).into()))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || "a sha256 has 64 hexadecimal digits".to_owned();
        // Signs, which the parser below would take, are no digits.
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

/// A key as the file keeps it. Unknown fields are refused: one that a newer version wrote may take rights away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What people call it; it is what the audit log says.
    pub name: String,
    /// Of the whole key, with its prefix.
    pub sha256: Fingerprint,
    /// What it may do.
    pub scope: Scope,
    /// Where it may do that.
    pub collections: Collections,
    /// Since when it is there.
    pub created: Timestamp,
    /// When it ceases to be good by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

/// Whether a key is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is.
    Active,
    /// It was, until its time was over.
    Expired,
    /// It was, until somebody took it back.
    Revoked,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        })
    }
}

impl Key {
    /// Makes a key out of the system's randomness. The secret is given back here and kept nowhere.
    pub fn create(
        name: &str,
        scope: Scope,
        collections: Collections,
        lifetime: Option<std::time::Duration>,
    ) -> Result<(Self, SecretString), KeysError> {
        check_name(name)?;
        let mut random = [0; RANDOM];
        SysRng
            .try_fill_bytes(&mut random)
            .map_err(|error| KeysError::NoRandomness(error.to_string()))?;
        let secret = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
        let created = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let expires = lifetime.map(|lifetime| expiry(created, lifetime)).transpose()?;
        let key = Self {
            name: name.to_owned(),
            sha256: Fingerprint(Sha256::digest(secret.as_bytes()).into()),
            scope,
            collections,
            created,
            expires,
            revoked: None,
        };
        Ok((key, secret.into()))
    }

    /// Whether it is good at this moment.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.revoked.is_some() {
            Standing::Revoked
        } else if self.expires.is_some_and(|expires| expires <= now) {
            Standing::Expired
        } else {
            Standing::Active
        }
    }
}

fn expiry(created: Timestamp, lifetime: std::time::Duration) -> Result<Timestamp, KeysError> {
    SignedDuration::try_from(lifetime)
        .ok()
        .filter(|lifetime| *lifetime >= SignedDuration::from_secs(1))
        .and_then(|lifetime| created.checked_add(lifetime).ok())
        .ok_or(KeysError::BadLifetime)
}

/// Refuses names that would be hard to read or to type, or that could steer a terminal.
fn check_name(name: &str) -> Result<(), KeysError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let valid = (1..=LONGEST_NAME).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(good);
    if valid {
        Ok(())
    } else {
        Err(KeysError::BadName(name.to_owned()))
    }
}

/// All keys, good or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<Arc<Key>>);

impl KeySet {
    /// Refuses keys that could be taken for one another.
    pub fn new(keys: Vec<Key>) -> Result<Self, KeysError> {
        let (mut names, mut secrets) = (BTreeSet::new(), BTreeSet::new());
        for key in &keys {
            check_name(&key.name)?;
            if !names.insert(&key.name) || !secrets.insert(key.sha256.0) {
                return Err(KeysError::NameTaken(key.name.clone()));
            }
        }
        Ok(Self(keys.into_iter().map(Arc::new).collect()))
    }

    /// The key that has this fingerprint. All are compared, each in constant time.
    pub fn find(&self, presented: &Fingerprint) -> Option<&Arc<Key>> {
        let mut found = None;
        for key in &self.0 {
            if key.sha256.0.ct_eq(&presented.0).into() {
                found = Some(key);
            }
        }
        found
    }

    /// How many are good at this moment.
    pub fn active(&self, now: Timestamp) -> usize {
        self.0
            .iter()
            .filter(|key| key.standing(now) == Standing::Active)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret;

    use super::*;

    fn named(names: &[&str]) -> Collections {
        Vec::from_iter(names.iter().map(|name| name.to_string()))
            .try_into()
            .unwrap()
    }

    #[test]
    fn a_key_is_found_by_its_secret_and_by_nothing_else() {
        let (key, secret) = Key::create("web", Scope::Read, named(&["faces"]), None).unwrap();
        let (other, _) = Key::create("other", Scope::Admin, Collections::All, None).unwrap();
        let secret = secret.expose_secret().to_owned();
        assert!(secret.starts_with("fdx_") && secret.len() == 47, "{secret}");
        let stored = serde_json::to_string(&[&key, &other]).unwrap();
        assert!(!stored.contains(&secret[4..]), "the file would hold the secret");
        let set = KeySet::new(vec![other, key]).unwrap();
        let found = |text: &str| {
            let fingerprint = Fingerprint::of(text.as_bytes())?;
            set.find(&fingerprint).map(|key| key.name.clone())
        };
        assert_eq!(found(&secret).as_deref(), Some("web"));
        let mut flipped = secret.clone().into_bytes();
        flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
        for wrong in [
            String::from_utf8(flipped).unwrap(),
            secret[..46].to_owned(),
            format!("{secret}x"),
            secret[4..].to_owned(),
            secret.to_uppercase(),
            String::new(),
        ] {
            assert_eq!(found(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_two_keys_are_alike() {
        let make = || Key::create("a", Scope::Read, Collections::All, None).unwrap().0;
        let secrets: BTreeSet<String> = (0..1000).map(|_| make().sha256.into()).collect();
        assert_eq!(secrets.len(), 1000);
        assert!(matches!(
            KeySet::new(vec![make(), make()]),
            Err(KeysError::NameTaken(_))
        ));
        let (one, mut same) = (make(), make());
        (same.name, same.sha256) = ("b".to_owned(), one.sha256);
        assert!(KeySet::new(vec![one, same]).is_err(), "two names for one secret");
    }

    #[test]
    fn a_key_ends_when_its_time_is_over_or_it_is_revoked() {
        let make = |lifetime| Key::create("a", Scope::Read, Collections::All, Some(lifetime));
        let (mut key, _) = make(Duration::from_secs(60)).unwrap();
        let after = |seconds| key.created + SignedDuration::from_secs(seconds);
        assert_eq!(key.standing(after(59)), Standing::Active);
        assert_eq!(key.standing(after(60)), Standing::Expired);
        let now = after(1);
        key.revoked = Some(now);
        assert_eq!(key.standing(now), Standing::Revoked);
        for wrong in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
            assert!(matches!(make(wrong), Err(KeysError::BadLifetime)), "{wrong:?}");
        }
    }

    #[test]
    fn collections_are_names_or_all() {
        assert!(named(&["a", "b"]).allow("b") && !named(&["a", "b"]).allow("c"));
        assert_eq!(named(&["a", "*"]), Collections::All);
        assert!(Collections::All.allow("anything"));
        for wrong in [
            vec![],
            vec!["a*".to_owned()],
            vec!["a,b".to_owned()],
            vec![String::new()],
        ] {
            assert!(Collections::try_from(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_the_file_says_is_read_strictly() {
        let (key, _) = Key::create("a", Scope::Write, named(&["x"]), None).unwrap();
        let good = serde_json::to_value(&key).unwrap();
        assert_eq!(good["scope"], "write");
        let again: Key = serde_json::from_value(good.clone()).unwrap();
        assert_eq!(again.sha256, key.sha256);
        for (field, value) in [
            ("sha256", "+f".repeat(32)),
            ("sha256", "ab".to_owned()),
            ("scope", "root".to_owned()),
            ("only_from", "10.0.0.0/8".to_owned()),
            ("expires", "tomorrow".to_owned()),
        ] {
            let mut wrong = good.clone();
            wrong[field] = value.into();
            assert!(serde_json::from_value::<Key>(wrong).is_err(), "{field}");
        }
        for wrong in ["", "-a", "a b", "a\u{1b}[31m", &"a".repeat(65)] {
            assert!(
                Key::create(wrong, Scope::Read, Collections::All, None).is_err(),
                "{wrong:?}"
            );
        }
    }
}
