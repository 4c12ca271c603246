//! Documents in, hits out: everything that speaks to Elasticsearch. Knows nothing of pixels.

pub mod bulk;
pub mod client;
pub mod collection;
pub mod connection;
pub mod destination;
pub mod document;
pub mod error;
pub mod faces;
pub mod filter;
pub mod fingerprint;
pub mod load;
mod mget;
mod node;
pub mod persons;
pub mod purge;
pub mod retry;
pub mod search;
pub mod store;
pub mod tombstones;
pub mod trace;
pub mod versions;

pub use client::Client;
pub use destination::Destination;
pub use error::ElasticError;
