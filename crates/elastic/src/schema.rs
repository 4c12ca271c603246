//! What is stored: documents, mappings and their versions, and the one way in which a collection's name is resolved.

pub mod collection;
pub mod document;
pub mod embedding;
pub mod filter;
pub mod layout;
pub(crate) mod lenient;
pub mod make;
pub(crate) mod mapping;
pub(crate) mod origin;
pub mod resolve;
pub(crate) mod template;
pub mod tombstones;
pub(crate) mod versioned;
pub mod versions;
