//! What happens to a collection after it was made: sized, looked at, merged, checked, moved to another index.

pub mod adopt;
pub mod check;
mod drift;
mod error;
pub mod imports;
pub mod migrate;
pub mod optimize;
pub mod plan;
pub mod recall;
pub mod reconcile;
pub mod remove;
pub mod sample;
pub mod status;
pub mod storage;
pub mod walk;

pub use error::LifecycleError;
