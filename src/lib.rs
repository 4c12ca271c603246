//! facedex detects, aligns and embeds faces, bulk-loads them into an Elasticsearch `dense_vector` index, and answers
//! searches by photo. ARCHITECTURE.md has the bird's-eye view.

pub mod budget;
pub mod canvas;
pub mod cli;
pub mod config;
pub mod enrol;
pub mod error;
pub mod eval;
pub mod ingest;
pub mod kibana;
pub mod query;
pub mod server;
pub mod terminal;
