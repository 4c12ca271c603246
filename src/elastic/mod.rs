//! Documents in, hits out: everything that speaks to Elasticsearch. Knows nothing of pixels.

pub mod bulk;
pub mod client;
pub mod clusters;
pub mod collection;
pub mod connection;
pub mod destination;
pub mod document;
pub mod effort;
pub mod error;
pub mod event;
pub mod events;
pub mod faces;
pub mod filter;
pub mod fingerprint;
pub mod lifecycle;
pub mod load;
mod mget;
pub mod neighbours;
mod node;
pub mod persons;
mod pit;
pub mod purge;
pub mod retry;
pub mod scratch;
pub mod search;
pub mod store;
mod template;
pub mod tombstones;
pub mod trace;
pub mod vectors;

pub use client::Client;
pub use destination::Destination;
pub use error::ElasticError;
