//! Integration tests by area, through the real binary, against a real Elasticsearch and on real photos.
//!
//! `cargo test --workspace` alone is enough: models and photos are fetched where they are missing, and a node is started, unless
//! `FACEDEX_TEST_ELASTICSEARCH_URL` names one. `ELASTICSEARCH_URL` is never looked at.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed assumption is a failed test; clippy.toml's exception does not reach helpers outside of #[test]"
)]

mod adopt;
mod api;
mod bad_input;
mod bench;
mod blocked;
mod cluster;
mod clustering;
mod collection;
mod config;
mod connection;
mod deleted;
mod deploy;
mod eval;
mod events;
mod faults;
mod forgotten;
mod golden;
mod hands;
mod harness;
mod ingest;
mod kept;
mod kibana;
mod kill;
mod library;
mod lifecycle;
mod mutated;
mod outage;
mod person;
mod provider;
mod query;
mod recall;
mod remote;
mod sources;
mod stored;
mod versions;
