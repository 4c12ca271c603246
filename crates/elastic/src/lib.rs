//! Faces in Elasticsearch: documents in, hits out. Nothing here sees a pixel or runs a model.
//!
//! The modules stand in the order of their floors; each takes from those above it in this list alone: [`transport`] (requests and
//! their failures), [`wire`] (Elasticsearch's forms: bulk, search replies, points in time), [`schema`] (what is stored, and what
//! a collection's name means), [`read`], [`write`], [`people`] (all faces of one person), [`lifecycle`] (what happens to a
//! collection after it was made), [`transfer`] (in and out as files). [`events`] is written on the side.

pub mod error;
pub mod events;
pub mod lifecycle;
pub mod people;
pub mod read;
pub mod schema;
pub mod transfer;
pub mod transport;
pub mod wire;
pub mod write;

pub use error::ElasticError;
pub use transport::client::Client;
pub use wire::destination::Destination;
