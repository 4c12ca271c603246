//! Faces that are stored, stored again, and kept out; who writes at the moment.

pub mod alive;
pub mod load;
pub mod scratch;
pub mod store;
