//! Which versions of Elasticsearch the cluster's nodes run. While a cluster is upgraded node by node they differ; then it can do
//! what the oldest of them can.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize, Serializer};

use crate::transport::client::Payload;
use crate::{Client, ElasticError};

/// The oldest that is supported. From here on a knn query means the same everywhere.
const OLDEST: Version = Version::new(8, 19, 0);
/// The newest line that facedex was tested with.
const NEWEST_TESTED: Version = Version::new(9, 5, u64::MAX);
/// From here on nothing is known.
const UNKNOWN: Version = Version::new(10, 0, 0);
/// So long what the nodes said is taken for true.
const FRESH: Duration = Duration::from_secs(30);
/// Pauses before the nodes are asked again, when one of them went away while it was asked.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// A version of Elasticsearch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

impl Version {
    /// `MAJOR.MINOR.PATCH`.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch }
    }
}

impl FromStr for Version {
    type Err = String;

    /// Reads `9.5.3`, also with `-SNAPSHOT` or the like behind it.
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.split('-').next().unwrap_or_default();
        let numbers: Option<Vec<u64>> = plain.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[major, minor, patch]) => Ok(Self::new(major, minor, patch)),
            _ => Err(format!("{text:?} is no version")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Nodes of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodesOfVersion {
    /// The version, such as 9.5.3.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: Version,
    /// Their names.
    pub nodes: Vec<String>,
}

/// The versions of a cluster's nodes, oldest first: at least one, several while the cluster is upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Versions(Vec<NodesOfVersion>);

impl Versions {
    fn of(nodes: impl IntoIterator<Item = (Version, String)>) -> Option<Self> {
        let mut by_version: BTreeMap<Version, BTreeSet<String>> = BTreeMap::new();
        for (version, name) in nodes {
            by_version.entry(version).or_default().insert(name);
        }
        let nodes = by_version.into_iter().map(|(version, names)| NodesOfVersion {
            version,
            nodes: names.into_iter().collect(),
        });
        let nodes: Vec<_> = nodes.collect();
        (!nodes.is_empty()).then_some(Self(nodes))
    }

    /// Whether all nodes have this version or a newer one.
    pub fn all_from(&self, version: Version) -> bool {
        self.0.iter().all(|found| found.version >= version)
    }

    /// Whether some node has this version or a newer one.
    pub fn any_from(&self, version: Version) -> bool {
        self.0.iter().any(|found| found.version >= version)
    }

    /// Whether the nodes differ, as they do while a cluster is upgraded.
    pub fn is_mixed(&self) -> bool {
        self.0.len() > 1
    }

    /// Refuses nodes on which it is not known what a search would look at.
    fn expect_supported(&self) -> Result<(), ElasticError> {
        for found in &self.0 {
            let remedy = if found.version < OLDEST {
                "upgrade elasticsearch"
            } else if found.version >= UNKNOWN {
                "install a newer facedex"
            } else {
                continue;
            };
            return Err(ElasticError::UnsupportedVersion {
                found: found.version.to_string(),
                nodes: found.nodes.join(", "),
                supported: format!("{OLDEST} to {}.x", UNKNOWN.major - 1),
                remedy,
            });
        }
        Ok(())
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "{}", only.version);
        }
        for (at, found) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{} ({})", found.version, found.nodes.join(", "))?;
        }
        Ok(())
    }
}

/// What a client last heard.
#[derive(Debug, Default)]
pub(crate) struct Heard(tokio::sync::Mutex<Option<(Instant, Arc<Versions>)>>);

#[derive(Deserialize)]
struct Reply {
    #[serde(rename = "_nodes")]
    counts: Counts,
    #[serde(default)]
    nodes: BTreeMap<String, Node>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    failed: u64,
}

#[derive(Deserialize)]
struct Node {
    name: String,
    version: String,
}

impl Client {
    /// The versions of the cluster's nodes, about half a minute old at most. Versions on which nobody knows what a search would
    /// look at are refused. While the nodes cannot be asked, what they said last stays true.
    ///
    /// # Errors
    ///
    /// Fails where a version is too old, too new or hidden, or no node answers.
    pub async fn versions(&self) -> Result<Arc<Versions>, ElasticError> {
        // Who finds the answer too old asks anew; whoever comes meanwhile takes it as it is, lest all ask at once.
        let before = {
            let mut heard = self.heard.0.lock().await;
            match heard.as_mut() {
                Some((at, versions)) if at.elapsed() < FRESH => return Ok(Arc::clone(versions)),
                Some((at, versions)) => {
                    *at = Instant::now();
                    Arc::clone(versions)
                }
                None => {
                    // Nobody can go on without it.
                    let now = Arc::new(self.ask_versions().await?);
                    now.expect_supported()?;
                    announce(&now);
                    *heard = Some((Instant::now(), Arc::clone(&now)));
                    return Ok(now);
                }
            }
        };
        let now = match self.ask_versions().await {
            Ok(now) => Arc::new(now),
            Err(error) => {
                tracing::warn!(
                    reason = error.to_string(),
                    "elasticsearch's versions cannot be asked for; taken to be {before} still"
                );
                return Ok(before);
            }
        };
        let mut heard = self.heard.0.lock().await;
        if let Err(error) = now.expect_supported() {
            // What was there before must not let others go on.
            *heard = None;
            return Err(error);
        }
        if now != before {
            announce(&now);
        }
        *heard = Some((Instant::now(), Arc::clone(&now)));
        Ok(now)
    }

    async fn ask_versions(&self) -> Result<Versions, ElasticError> {
        const OPERATION: &str = "tell its nodes' versions";
        // A node that hangs counts as one that did not answer.
        let query = [
            ("filter_path", "_nodes.failed,nodes.*.name,nodes.*.version"),
            ("timeout", "5s"),
        ];
        let unknown = |reason: String, is_passing: bool| ElasticError::UnknownVersion {
            nodes: self.addresses(),
            reason,
            is_passing,
        };
        let start = Instant::now();
        let mut pauses = PAUSES.iter();
        let mut pause = Duration::ZERO;
        loop {
            let reply: Result<Reply, _> = self
                .read(OPERATION, Method::Get, "/_nodes/http", &query, Payload::None)
                .await;
            let reply = match reply {
                Ok(reply) => reply,
                Err(ElasticError::Garbled { reason, .. }) => return Err(unknown(reason, false)),
                Err(error @ ElasticError::Unauthorised { .. }) => return Err(error),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => return Err(unknown(error.to_string(), false)),
            };
            if reply.counts.failed > 0 {
                // It went away while it was asked: the others know when they have a master again.
                if start.elapsed() >= self.timeout {
                    return Err(unknown(
                        format!("{} of the nodes did not answer", reply.counts.failed),
                        true,
                    ));
                }
                pause = pauses.next().copied().unwrap_or(pause);
                tokio::time::sleep(pause).await;
                continue;
            }
            let nodes: Result<Vec<_>, String> = reply
                .nodes
                .into_values()
                .map(|node| Ok((node.version.parse()?, node.name)))
                .collect();
            let versions = nodes.map_err(|reason| unknown(reason, false))?;
            return Versions::of(versions).ok_or_else(|| unknown("no node told its version".to_owned(), false));
        }
    }
}

/// Says in the log what is there now.
fn announce(versions: &Versions) {
    if versions.is_mixed() {
        tracing::warn!(
            "the nodes run different versions of elasticsearch: {versions}; what only the newer ones know is not used"
        );
    } else if versions.any_from(NEWEST_TESTED) {
        tracing::warn!("elasticsearch {versions} is newer than the versions that facedex was tested with");
    } else {
        tracing::info!("elasticsearch {versions}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(nodes: &[(&str, &str)]) -> Versions {
        let nodes = nodes
            .iter()
            .map(|(name, version)| (version.parse().unwrap(), (*name).to_owned()));
        Versions::of(nodes.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn versions_are_read_and_ordered() {
        assert_eq!("9.5.3".parse(), Ok(Version::new(9, 5, 3)));
        assert_eq!("8.19.0-SNAPSHOT".parse(), Ok(Version::new(8, 19, 0)));
        assert!(Version::new(9, 10, 0) > Version::new(9, 9, 9));
        for wrong in ["9", "9.5", "nine", "9.5.x", ""] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mixed_cluster_can_what_its_oldest_node_can_and_is_named() {
        let mixed = versions(&[("n1", "9.5.3"), ("n2", "8.19.21"), ("n0", "8.19.21")]);
        assert_eq!(mixed.to_string(), "8.19.21 (n0, n2), 9.5.3 (n1)");
        assert!(mixed.is_mixed() && mixed.any_from(Version::new(9, 4, 0)) && !mixed.all_from(Version::new(9, 2, 0)));
        assert_eq!(versions(&[("a", "9.2.0"), ("b", "9.2.0")]).to_string(), "9.2.0");
    }

    #[test]
    fn versions_of_which_nothing_is_known_are_refused_with_the_remedy() {
        for (version, remedy) in [("8.18.9", "upgrade elasticsearch"), ("10.0.0", "newer facedex")] {
            let error = versions(&[("n0", "9.5.3"), ("n1", version)])
                .expect_supported()
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(version) && error.contains("n1") && error.contains(remedy),
                "{error}"
            );
        }
        for version in ["8.19.0", "9.0.1", "9.5.3", "9.9.0"] {
            assert!(versions(&[("n0", version)]).expect_supported().is_ok());
        }
    }
}
