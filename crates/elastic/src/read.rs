//! Searches: how far they look, and what they find.

pub mod effort;
pub mod knn;
pub mod neighbours;
pub mod search;
pub mod vectors;
