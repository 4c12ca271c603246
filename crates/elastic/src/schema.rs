//! What is stored: documents, mappings and their versions, and the one way in which a collection's name is resolved.

pub mod collection;
pub mod document;
pub mod embedding;
pub mod filter;
pub(crate) mod lenient;
pub(crate) mod mapping;
pub(crate) mod template;
pub mod tombstones;
pub(crate) mod versioned;
pub mod versions;
