//! What was done, as documents of an index of its own, for dashboards and alerts.

pub mod event;
pub mod writer;

pub use writer::Events;
