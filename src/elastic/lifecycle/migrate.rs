//! A collection moves to its next index while it is written to and searched.
//!
//! Build the next index, carry everything over, and look again until little is left. Then block writes to the old one:
//! writers get a 403 that they take for a pause. Look until nothing differs, try some searches, and let the alias change
//! hands in one step: the writers' next attempt reaches the new index, and no search ever met half of it. The old index
//! stays, blocked, until it is retired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::LifecycleError;
use super::reconcile::{Carrier, Round, round};
use super::sample::{Sample, sample};
use super::versions::{self, Reach, State, Version, building_alias};
use crate::elastic::client::Payload;
use crate::elastic::collection::{self, Collection, Layout};
use crate::elastic::schema::{self, FACES};
use crate::elastic::{Client, Destination, ElasticError, load, template};
use crate::models::catalog::Space;

/// So few changes can be caught up with while writers wait.
const FEW: u64 = 500;
/// Looks before writers are made to wait, however much they write.
const ROUNDS_BEFORE: u32 = 10;
/// Looks without writes: the first catches up, the second proves that nothing differs; more only if others interfere.
const ROUNDS_BLOCKED: u32 = 5;

/// Searches that are tried once more while writers wait, on what is then the final state.
const SEARCHES_BLOCKED: usize = 10;

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
    fn is_met(&self, collection: &Collection) -> bool {
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
    /// Writers wait.
    Blocked,
    /// Some searches were tried.
    Sampled(Sample),
}

/// A migration from one index of a collection to the next.
pub struct Migration {
    client: Arc<Client>,
    collection: Collection,
    goal: Goal,
    /// The index that is built, if it was begun before.
    begun: Option<Version>,
    next: String,
    from: Destination,
    to: Destination,
    /// Writers wait because of us.
    blocked: bool,
}

impl Migration {
    /// Looks at what there is; `None` where the collection is as wanted. Changes nothing.
    pub async fn plan(at: &Destination, goal: Goal) -> Result<Option<Self>, LifecycleError> {
        let client = Arc::clone(&at.client);
        let collection = collection::open(&client, &at.collection).await?;
        if goal.is_met(&collection) {
            return Ok(None);
        }
        if load::in_progress(&client, &collection).await?.is_some() {
            return Err(LifecycleError::InLoad { name: collection.name });
        }
        let whole = versions::list(&client, &collection).await?;
        let begun = whole
            .versions
            .into_iter()
            .find(|version| version.state == State::Building);
        let (next, building) = match &begun {
            Some(begun) => (begun.index.clone(), begun.building_alias.clone()),
            None => (whole.next, None),
        };
        let building = building.unwrap_or_else(|| building_alias(&whole.stem));
        Ok(Some(Self {
            from: at.at(&collection.index),
            to: at.through(&building),
            client,
            collection,
            goal,
            begun,
            next,
            blocked: false,
        }))
    }

    /// The index behind the alias now, and the next one.
    pub fn indices(&self) -> (&str, &str) {
        (&self.collection.index, &self.next)
    }

    /// Whether an earlier run began to build the next index.
    pub fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Moves the collection. Where this fails or is dropped, [`Migration::release`] lets writers go on.
    pub async fn run<C: Carrier>(
        &mut self,
        carrier: &mut C,
        care: &Care,
        told: &dyn Fn(Step),
    ) -> Result<Outcome, LifecycleError> {
        self.begin().await?;
        let mut outcome = Outcome::default();
        for _ in 0..ROUNDS_BEFORE {
            let done = self.look(carrier, &mut outcome, told).await?;
            self.expect_all(&done, care)?;
            if done.carried + done.removed <= FEW {
                break;
            }
        }
        self.complete().await?;
        self.look(carrier, &mut outcome, told).await?;
        outcome.sample = Some(self.try_searches(care, care.searches, told).await?);
        let start = Instant::now();
        self.block().await?;
        told(Step::Blocked);
        self.settle(carrier, care, &mut outcome, told).await?;
        self.try_searches(care, care.searches.min(SEARCHES_BLOCKED), told)
            .await?;
        self.switch().await?;
        outcome.blocked_seconds = start.elapsed().as_secs_f64();
        Ok(outcome)
    }

    /// Lets writers go on, if they wait because of us and the alias has not changed hands.
    pub async fn release(&mut self) -> Result<(), ElasticError> {
        if !self.blocked {
            return Ok(());
        }
        let now = collection::open(&self.client, &self.collection.name).await?;
        if now.index == self.collection.index {
            self.settings(&self.collection.index, &json!({"index": {"blocks": {"write": null}}}))
                .await?;
        }
        self.blocked = false;
        Ok(())
    }

    /// Makes the next index, or goes on with the one that an earlier run began.
    async fn begin(&mut self) -> Result<(), LifecycleError> {
        let Some(begun) = &self.begun else {
            template::install_faces_template(&self.client).await?;
            // Without refreshes and copies until it is full.
            let layout = Layout {
                replicas: Some(0),
                ..self.goal.layout.clone()
            };
            let versions = self.from.versions().await?;
            let mut body = template::index_body(&layout, &self.goal.space, &self.collection.collection_id, &versions);
            body["aliases"] = json!({self.to.collection.clone(): {}});
            body["settings"]["index"]["refresh_interval"] = json!("-1");
            body["mappings"]["_meta"]["migrated_from"] = json!(self.collection.index);
            let path = format!("/{}", self.next);
            let _: Value = self
                .from
                .json("make the next index", Method::Put, &path, &[], Payload::Json(&body))
                .await?;
            self.from
                .patiently(|| schema::bring_up_if_there(&self.client, FACES, &self.next))
                .await?;
            return Ok(());
        };
        self.from
            .patiently(|| schema::bring_up_if_there(&self.client, FACES, &begun.index))
            .await?;
        let found = collection::describe_index(&self.client, &self.collection.name, &begun.index).await?;
        if self.goal.is_met(&found) {
            return Ok(());
        }
        Err(LifecycleError::OtherMigration {
            index: found.index,
            found: format!(
                "{}, {} shards, m {}, ef_construction {}, space {}",
                found.index_type.name(),
                found.shards,
                found.m,
                found.ef_construction,
                found.space
            ),
        })
    }

    async fn look<C: Carrier>(
        &self,
        carrier: &mut C,
        outcome: &mut Outcome,
        told: &dyn Fn(Step),
    ) -> Result<Round, LifecycleError> {
        outcome.rounds += 1;
        let number = outcome.rounds;
        let done = round(&self.from, &self.to, carrier, &|faces| {
            told(Step::Passed(number, faces))
        })
        .await?;
        told(Step::Round(number, done));
        outcome.carried += done.carried;
        outcome.removed += done.removed;
        outcome.left_behind = done.left;
        outcome.faces = done.faces - done.left;
        Ok(done)
    }

    fn expect_all(&self, done: &Round, care: &Care) -> Result<(), LifecycleError> {
        if done.left == 0 || care.leave_behind {
            return Ok(());
        }
        Err(LifecycleError::LeftBehind { faces: done.left })
    }

    /// Gives the new index its refreshes and copies, as the old one has them, and waits until they are there.
    async fn complete(&self) -> Result<(), LifecycleError> {
        let mut index = self.own_settings().await?;
        if let Some(replicas) = self.goal.layout.replicas {
            index["auto_expand_replicas"] = json!(false);
            index["number_of_replicas"] = json!(replicas);
        }
        self.settings(&self.next, &json!({"index": index})).await?;
        let path = format!("/_cluster/health/{}", self.next);
        let query = [("wait_for_no_initializing_shards", "true"), ("timeout", "20s")];
        loop {
            let (answer, _) = self
                .client
                .json_and_pause::<Value>("wait for the copies", Method::Get, &path, &query, Payload::None)
                .await;
            match answer {
                Ok(_) => return Ok(()),
                // Copying takes as long as it takes.
                Err(ElasticError::Refused { status: 408, .. }) => {}
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_secs(1)).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the old index says about refreshes and copies; null is Elasticsearch's default.
    async fn own_settings(&self) -> Result<Value, LifecycleError> {
        let path = format!("/{}/_settings", self.collection.index);
        let reply: Value = self
            .from
            .json("read the collection's settings", Method::Get, &path, &[], Payload::None)
            .await?;
        let old = &reply[&self.collection.index]["settings"]["index"];
        let mut index = json!({
            "refresh_interval": old["refresh_interval"],
            "auto_expand_replicas": old["auto_expand_replicas"],
        });
        if !self.collection.auto_expands {
            index["number_of_replicas"] = old["number_of_replicas"].clone();
        }
        Ok(index)
    }

    async fn settings(&self, index: &str, settings: &Value) -> Result<(), ElasticError> {
        self.from
            .put_settings("change an index's settings", index, settings)
            .await
    }

    /// Comes back when every write that was under way is done and no other is let in.
    async fn block(&mut self) -> Result<(), LifecycleError> {
        self.blocked = true;
        let path = format!("/{}/_block/write", self.collection.index);
        let _: Value = self
            .from
            .json("block writes", Method::Put, &path, &[], Payload::None)
            .await?;
        Ok(())
    }

    /// Looks until nothing differs: ids and versions, both ways.
    async fn settle<C: Carrier>(
        &self,
        carrier: &mut C,
        care: &Care,
        outcome: &mut Outcome,
        told: &dyn Fn(Step),
    ) -> Result<(), LifecycleError> {
        for _ in 0..ROUNDS_BLOCKED {
            let done = self.look(carrier, outcome, told).await?;
            self.expect_all(&done, care)?;
            if done.is_clean() {
                return Ok(());
            }
        }
        Err(LifecycleError::Differs {
            index: self.next.clone(),
            rounds: ROUNDS_BLOCKED,
        })
    }

    /// Refuses a new index that finds less than the old one.
    async fn try_searches(&self, care: &Care, searches: usize, told: &dyn Fn(Step)) -> Result<Sample, LifecycleError> {
        let new = collection::describe_index(&self.client, &self.collection.name, &self.next).await?;
        let tried = sample(&self.to, &self.collection, &new, searches).await?;
        told(Step::Sampled(tried));
        tried.expect(care.min_agreement)?;
        Ok(tried)
    }

    /// Hands every alias of the old index to the new one, in one step.
    async fn switch(&mut self) -> Result<(), LifecycleError> {
        let (old, new) = (&self.collection.index, &self.next);
        let path = format!("/{old}/_alias");
        let mut reply: Value = self
            .from
            .json("read the aliases", Method::Get, &path, &[], Payload::None)
            .await?;
        let aliases: BTreeMap<String, Value> = serde_json::from_value(reply[old]["aliases"].take())
            .map_err(|error| ElasticError::unexpected("read the aliases", error))?;
        let mut actions = vec![json!({"remove": {"index": new, "alias": self.to.collection}})];
        for (alias, properties) in aliases {
            let mut add = properties;
            add["index"] = json!(new);
            // Who writes vectors of the old space must not find the new index.
            let of_space = alias.strip_suffix(&format!("@{}", self.collection.space));
            add["alias"] = of_space.map_or_else(
                || json!(alias),
                |name| json!(format!("{name}@{}", self.goal.space.name)),
            );
            actions.push(json!({"remove": {"index": old, "alias": alias, "must_exist": true}}));
            actions.push(json!({"add": add}));
        }
        let switched: Result<Value, _> = self
            .client
            .json(
                "switch the alias",
                Method::Post,
                "/_aliases",
                &[],
                Payload::Json(&json!({"actions": actions})),
            )
            .await;
        if let Err(error) = switched {
            // An answer that was lost, or another run that was faster: what counts is where the alias is.
            let now = collection::open(&self.client, &self.collection.name).await?;
            if now.index != *new {
                return Err(error.into());
            }
        }
        // The old index stays blocked: whoever still writes to it by its name would write into the void.
        self.blocked = false;
        Ok(())
    }
}

/// The indices that `retire` would remove: those that migrations left, and on demand the one that a migration began.
pub async fn retirable(
    client: &Client,
    collection: &Collection,
    unfinished: bool,
) -> Result<(Vec<Version>, Reach), ElasticError> {
    let mut whole = versions::list(client, collection).await?;
    let reach = Reach::of(&whole);
    whole.versions.retain(|version| match version.state {
        State::Live => false,
        State::Building => unfinished,
        State::Kept => true,
    });
    Ok((whole.versions, reach))
}
