//! What a migration is to reach, with how much care, and what it tells of its way

use std::time::Duration;

use facedex_base::space::Space;
use serde::Serialize;

use crate::lifecycle::reconcile::Round;
use crate::lifecycle::sample::Sample;
use crate::schema::collection::Collection;
use crate::schema::layout::Layout;

/// What the next index is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// How it is laid out.
    pub layout: Layout,
    /// The embedding space of its vectors.
    pub space: Space,
}

impl Goal {
    /// Whether the collection is like that already. The number of copies can be changed without a migration.
    pub(super) fn is_met(&self, collection: &Collection) -> bool {
        let layout = Layout {
            replicas: self.layout.replicas,
            ..collection.layout()
        };
        self.space == collection.embedding_space() && self.layout == layout
    }
}

/// How thoroughly the new index is looked at before it is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Care {
    /// Searches that are tried.
    pub searches: usize,
    /// The share of faces that they must find.
    pub min_agreement: f64,
    /// Whether to go on without faces that cannot be taken along.
    pub leave_behind: bool,
    /// The longest that writers may be made to wait.
    pub max_pause: Duration,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Faces in the new index.
    pub faces: u64,
    /// Faces that were written, repeatedly if they changed.
    pub carried: u64,
    /// Faces that were removed again, since they were deleted meanwhile.
    pub removed: u64,
    /// Faces that could not be taken along.
    pub left_behind: u64,
    /// Looks at both indices.
    pub rounds: u32,
    /// For how long writers had to wait, in seconds.
    pub blocked_seconds: f64,
    /// How searches went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// What is going on, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// So many faces were passed in this round.
    Passed(u32, u64),
    /// A round has ended.
    Round(u32, Round),
    /// Elasticsearch copies the new index to other nodes.
    Copying,
    /// Writers wait, for about so long.
    Blocked(Duration),
    /// Some searches were tried.
    Sampled(Sample),
}
