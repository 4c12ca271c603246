//! One error for the whole program: what layers report, with an exit code.

use facedex_elastic::ElasticError;
use facedex_elastic::lifecycle::LifecycleError;
use facedex_face::FaceError;
use facedex_face::models::catalog::CatalogError;
use facedex_face::models::fetch::FetchError;
use facedex_face::models::runtime::RuntimeError;

use crate::config::ConfigError;
use crate::eval::EvalError;
use crate::ingest::IngestError;
use crate::kibana::KibanaError;
use crate::query::QueryError;
use crate::server::ServeError;
use crate::server::access::KeysError;
use crate::server::audit::AuditError;

/// Anything that ends a command with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Fetching models.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The face engine.
    #[error(transparent)]
    Face(#[from] FaceError),
    /// Elasticsearch.
    #[error(transparent)]
    Elastic(#[from] ElasticError),
    /// Moving a collection.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// An ingest run.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A question about a photo.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Benchmarks were asked for here.
    #[error(
        "benchmarks are a command of their own: `facedex-bench {0}`, with the same arguments; `cargo build --release --workspace` builds it"
    )]
    BenchIsApart(String),
    /// Kibana.
    #[error(transparent)]
    Kibana(#[from] KibanaError),
    /// An evaluation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// API keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is nobody with this id.
    #[error("no person {id:?} in {collections}; `facedex person list` shows who is there")]
    NoPerson {
        /// The id.
        id: String,
        /// Where was looked.
        collections: String,
    },
    /// A new id that is somebody's already.
    #[error("there is a person {0:?} already; `facedex person merge` makes two people one")]
    PersonExists(String),
    /// A merge of a person with themselves.
    #[error("{0:?} is one person already; a merge needs two ids")]
    SamePerson(String),
    /// An audit log names less than what was deleted.
    #[error(
        "these lines of the audit log name only some of the faces that were deleted: {0}; delete them again with `facedex person delete`"
    )]
    ShortLog(String),
    /// Nobody can be asked.
    #[error("not done, since nobody can be asked here whether to {0}: say --yes")]
    Unconfirmed(String),
    /// Somebody was asked, and said no.
    #[error("not done")]
    Declined,
    /// The server.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Results cannot be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] std::io::Error),
    /// Stopped by the user before the work in flight was done.
    #[error("stopped; what was acknowledged is kept, and the same command goes on from there")]
    Interrupted,
    /// How far to look cannot be understood.
    #[error("{0}")]
    Effort(String),
    /// One picture for several photos.
    #[error("--picture shows one photo's search; give one photo")]
    OnePicture,
    /// A picture cannot be drawn or saved.
    #[error("cannot write the picture {path}: {reason}")]
    Picture {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}
