//! Elasticsearch's own forms, each in one place: bulk requests and their verdicts, documents by id, pages of one state of an
//! index, search replies; and where they go.

pub mod bulk;
pub mod destination;
pub(crate) mod mget;
pub mod reply;
pub(crate) mod scan;
