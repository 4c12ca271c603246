//! Three real nodes on loopback that are one cluster. Any of them can be killed and started again.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Instant;

use rand::RngExt;
use serde_json::Value;
use tempfile::TempDir;

use super::node::{Node, request, try_request, wait_until};

pub const NODES: usize = 3;

pub struct Cluster {
    folder: TempDir,
    nodes: [Option<Node>; NODES],
    http: [u16; NODES],
    settings: [Vec<String>; NODES],
}

impl Cluster {
    pub fn start() -> Self {
        Self::start_at(None)
    }

    /// Nodes of this version of Elasticsearch, or of the one that is tested.
    pub fn start_at(version: Option<&str>) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (http, transport): ([u16; NODES], [u16; NODES]) = free_ports();
        let seeds = transport.map(|port| format!("127.0.0.1:{port}")).join(",");
        let settings = std::array::from_fn(|at| {
            vec![
                format!("node.name=n{at}"),
                format!("cluster.name=facedex-test-{}", std::process::id()),
                format!("transport.port={}", transport[at]),
                format!("discovery.seed_hosts={seeds}"),
                "cluster.initial_master_nodes=n0,n1,n2".to_owned(),
            ]
        });
        let mut cluster = Self {
            folder,
            nodes: [const { None }; NODES],
            http,
            settings,
        };
        let spawned: [Node; NODES] = std::array::from_fn(|at| cluster.spawn(at, version));
        for (at, node) in spawned.into_iter().enumerate() {
            cluster.nodes[at] = Some(node.ready(&cluster.data(at)));
        }
        wait_until("three nodes are one cluster", || {
            let health = try_request(cluster.url(), "GET", "/_cluster/health", None);
            health.is_some_and(|(_, health)| health["number_of_nodes"] == NODES)
        });
        cluster
    }

    fn spawn(&self, at: usize, version: Option<&str>) -> Node {
        Node::spawn(&self.data(at), self.http[at], &self.settings[at], version)
    }

    /// The folder of a node's files.
    pub fn data(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("n{at}"))
    }

    /// The addresses of all nodes, dead or alive, as users give them.
    pub fn urls(&self) -> String {
        self.http.map(|port| format!("http://127.0.0.1:{port}")).join(",")
    }

    /// The address of a node that lives.
    pub fn url(&self) -> &str {
        &self.nodes.iter().flatten().next().unwrap().url
    }

    /// The node that is the elected master.
    pub fn master(&self) -> usize {
        let (_, found) = request(self.url(), "GET", "/_cat/master?format=json", None);
        let name = found[0]["node"].as_str().unwrap().to_owned();
        name.strip_prefix('n').unwrap().parse().unwrap()
    }

    /// kill -9.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at].take().unwrap().kill();
    }

    /// Starts a killed node on its old data, and comes back when it answers.
    pub fn restart(&mut self, at: usize) {
        self.nodes[at] = Some(self.spawn(at, None).ready(&self.data(at)));
    }

    /// Stops a node in an orderly way and starts this version on its data; comes back when all nodes are there.
    pub fn upgrade(&mut self, at: usize, version: &str) {
        self.nodes[at].take().unwrap().stop();
        self.nodes[at] = Some(self.spawn(at, Some(version)).ready(&self.data(at)));
        wait_until("the upgraded node has joined", || {
            let health = try_request(self.url(), "GET", "/_cluster/health", None);
            health.is_some_and(|(_, health)| health["number_of_nodes"] == NODES)
        });
    }

    /// The files of all nodes, dead or alive, that have any of these bytes.
    pub fn files_with(&self, needles: &[Vec<u8>]) -> Vec<PathBuf> {
        let walk = walkdir::WalkDir::new(self.folder.path()).into_iter().flatten();
        walk.filter(|entry| entry.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .filter(|path| {
                // Files come and go.
                let bytes = std::fs::read(path).unwrap_or_default();
                needles
                    .iter()
                    .any(|needle| memchr::memmem::find(&bytes, needle).is_some())
            })
            .collect()
    }

    pub fn health(&self, collection: &str) -> Value {
        let path = format!("/_cluster/health/{collection}");
        try_request(self.url(), "GET", &path, None).map_or(Value::Null, |(_, health)| health)
    }

    /// Waits until every copy of every shard is there, and tells the seconds since `start`.
    pub fn seconds_to_green(&self, collection: &str, start: Instant) -> f64 {
        wait_until("the cluster is green", || {
            let health = self.health(collection);
            health["status"] == "green" && health["number_of_nodes"] == NODES
        });
        start.elapsed().as_secs_f64()
    }
}

/// Ports that nobody listens on, below those that the system gives out: a port must still be free when its node is
/// started again.
fn free_ports() -> ([u16; NODES], [u16; NODES]) {
    let mut random = rand::rng();
    let mut taken = Vec::new();
    while taken.len() < 2 * NODES {
        let listener = TcpListener::bind(("127.0.0.1", random.random_range(12_000..32_000)));
        taken.extend(listener.ok());
    }
    let port = |at: usize| taken[at].local_addr().unwrap().port();
    (std::array::from_fn(port), std::array::from_fn(|at| port(NODES + at)))
}
