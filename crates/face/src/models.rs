//! The models: what is known of them, how their files get here, and how they run.

pub mod catalog;
pub mod fetch;
pub mod runtime;
