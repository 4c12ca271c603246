//! Requests to a cluster: over which connection, to which node, how often again. Knows nothing of faces.

pub mod client;
pub mod connection;
pub mod fingerprint;
mod node;
pub mod node_versions;
pub mod retry;
pub mod trace;
