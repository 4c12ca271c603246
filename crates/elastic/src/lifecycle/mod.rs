//! What happens to a collection after it was made: sized, looked at, merged, checked, moved to another index, exported.

pub mod adopt;
pub mod check;
pub mod deepface;
mod drift;
mod error;
pub mod export;
pub mod import;
pub mod imports;
pub mod migrate;
pub mod optimize;
pub mod plan;
pub mod reconcile;
pub mod remove;
pub mod sample;
pub mod storage;
pub mod versions;
pub mod walk;

pub use error::LifecycleError;
