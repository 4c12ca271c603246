//! Faces in Elasticsearch: documents in, hits out. Nothing here sees a pixel or runs a model.
//!
//! The modules stand in the order of their floors; each takes from those above it in this list alone: [`transport`] (requests and
//! their failures), [`wire`] (Elasticsearch's forms: bulk, search replies, points in time), [`schema`] (what is stored, and what
//! a collection's name means), [`mod@read`], [`mod@write`], [`people`] (all faces of one person), [`lifecycle`] (what happens to a
//! collection after it was made), [`transfer`] (in and out as files). [`events`] is written on the side.
//!
//! ```no_run
//! # async fn example(vector: &[f32]) -> Result<(), Box<dyn std::error::Error>> {
//! use facedex_elastic::{Client, read::search, schema::resolve, transport::connection::Connection};
//!
//! let client = Client::new(&Connection::to("http://127.0.0.1:9200".parse()?))?;
//! let collection = resolve::open(&client, "faces").await?;
//! for hit in search::nearest(&client, &collection, vector, 10).await? {
//!     println!("{:.3} {}", hit.similarity, hit.image);
//! }
//! # Ok(())
//! # }
//! ```

#![warn(clippy::missing_errors_doc)]

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
