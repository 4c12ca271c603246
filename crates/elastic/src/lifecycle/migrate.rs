//! A collection moves to its next index while it is written to and searched.
//!
//! Build the next index, carry everything over, and look again until little is left. Then block writes to the old one:
//! writers get a 403 that they take for a pause. Look until nothing differs, try some searches, and let the alias change
//! hands in one step: the writers' next attempt reaches the new index, and no search ever met half of it. The old index
//! stays, blocked, until it is retired.

mod goal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use serde_json::{Value, json};

use super::LifecycleError;
use super::imports;
use super::reconcile::{Carrier, Round, round};
use super::sample::{Sample, sample};
use crate::read::search;
use crate::schema::collection::Collection;
use crate::schema::layout::Layout;
use crate::schema::mapping::{self, FACES};
use crate::schema::resolve;
use crate::schema::template;
use crate::schema::versions::{self, State, Version, building_alias};
use crate::transport::client::Payload;
use crate::transport::retry::Backoff;
use crate::write::alive::{self, Alive};
use crate::write::load;
use crate::{Client, Destination, ElasticError};
pub use goal::{Care, Goal, Outcome, Step};

/// So few changes can be caught up with while writers wait.
const FEW: u64 = 500;
/// Looks before writers are made to wait, however much they write.
const ROUNDS_BEFORE: u32 = 10;
/// Looks without writes: the first catches up, the second proves that nothing differs; more only if others interfere.
const ROUNDS_BLOCKED: u32 = 5;

/// What is done in the next index; see `alive`.
const WORK: &str = "migration";

/// Searches that are tried once more while writers wait, on what is then the final state.
const SEARCHES_BLOCKED: usize = 10;

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
    /// Shows others that this goes on.
    alive: Option<Alive>,
}

impl Migration {
    /// Looks at what there is; `None` where the collection is as wanted. Changes nothing.
    ///
    /// # Errors
    ///
    /// Refuses beside a bulk load or another migration that goes on; fails where the collection is not there or in doubt.
    pub async fn plan(at: &Destination, goal: Goal) -> Result<Option<Self>, LifecycleError> {
        let client = Arc::clone(&at.client);
        let collection = resolve::open(&client, &at.collection).await?;
        if goal.is_met(&collection) {
            return Ok(None);
        }
        if let Some(load) = load::in_progress(&client, &collection).await? {
            return Err(LifecycleError::InLoad {
                meaning: load.meaning(&collection.name),
                name: collection.name,
            });
        }
        let whole = versions::list(&client, &collection).await?;
        let begun = whole
            .versions
            .into_iter()
            .find(|version| version.state == State::Building);
        if let Some(begun) = &begun {
            expect_left(&client, &begun.index).await?;
        }
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
            alive: None,
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
    ///
    /// # Errors
    ///
    /// Fails where faces cannot be carried over, searches find less than before, writers would wait too long, the next index is
    /// of another migration, or Elasticsearch fails for longer than the policy says. The alias then stays where it was.
    pub async fn run<C: Carrier>(
        &mut self,
        carrier: &mut C,
        care: &Care,
        progress: &dyn Fn(Step),
    ) -> Result<Outcome, LifecycleError> {
        let mut outcome = Outcome::default();
        if let Err(error) = self.walk(carrier, care, &mut outcome, progress).await {
            // The answer to the switch was lost, or a run that was killed had asked for it, and the name by which we
            // write went away under our hands. What counts is where the alias is.
            let now = self
                .from
                .patiently(|| resolve::open(&self.client, &self.collection.name))
                .await;
            if !now.is_ok_and(|now| now.index == self.next) {
                return Err(error);
            }
            // The old index stays blocked: whoever still writes to it by its name would write into the void.
            self.blocked = false;
            outcome.faces = search::count(&self.client, &self.collection.name, &[]).await?;
        }
        if let Some(alive) = self.alive.take() {
            alive.stop().await;
        }
        // Nobody reads it any more: an error is none.
        let _ = alive::forget(&self.client, &self.next).await;
        Ok(outcome)
    }

    async fn walk<C: Carrier>(
        &mut self,
        carrier: &mut C,
        care: &Care,
        outcome: &mut Outcome,
        progress: &dyn Fn(Step),
    ) -> Result<(), LifecycleError> {
        self.begin().await?;
        for _ in 0..ROUNDS_BEFORE {
            let done = self.pass(carrier, outcome, progress).await?;
            self.expect_all(&done, care)?;
            if done.carried + done.removed <= FEW {
                break;
            }
        }
        self.complete(progress).await?;
        let start = Instant::now();
        self.pass(carrier, outcome, progress).await?;
        // One look to catch up, one to prove that nothing differs.
        let expected = start.elapsed() * 2;
        outcome.sample = Some(self.try_searches(care, care.searches, progress).await?);
        self.from
            .patiently(|| imports::carry(&self.client, &self.collection.index, &self.next))
            .await?;
        if expected > care.max_pause {
            return Err(LifecycleError::LongPause {
                expected: Duration::from_millis(expected.as_millis() as u64),
                most: care.max_pause,
            });
        }
        let start = Instant::now();
        let proven = tokio::time::timeout(care.max_pause, async {
            self.block().await?;
            progress(Step::Blocked(expected));
            self.settle(carrier, care, outcome, progress).await?;
            let searches = care.searches.min(SEARCHES_BLOCKED);
            self.try_searches(care, searches, progress).await
        });
        proven.await.map_err(|_| LifecycleError::LongPause {
            expected: care.max_pause + Duration::from_secs(1),
            most: care.max_pause,
        })??;
        self.switch().await?;
        outcome.blocked_seconds = start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Shows others that the next index is being built, until this is dropped.
    async fn show_life(&mut self) -> Result<(), LifecycleError> {
        let shown = self.from.patiently(|| alive::show(&self.client, &self.next, WORK));
        self.alive = Some(shown.await?);
        Ok(())
    }

    /// Lets writers go on, if they wait because of us and the alias has not changed hands.
    ///
    /// # Errors
    ///
    /// Fails where Elasticsearch cannot be reached or refuses a request.
    pub async fn release(&mut self) -> Result<(), ElasticError> {
        if !self.blocked {
            return Ok(());
        }
        let now = self
            .from
            .patiently(|| resolve::open(&self.client, &self.collection.name))
            .await?;
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
            // From the first moment on: the fields beside it are the template's.
            body["mappings"]["properties"]["ingest"] = alive::begun(WORK)["ingest"].take();
            let path = format!("/{}", self.next);
            let made: Result<Value, _> = self
                .from
                .json("make the next index", Method::Put, &path, &[], Payload::Json(&body))
                .await;
            match made {
                // Another run was faster, or the answer to our first attempt was lost.
                Err(ElasticError::Refused { kind, .. }) if kind == "resource_already_exists_exception" => {
                    expect_left(&self.client, &self.next).await?;
                }
                made => {
                    made?;
                }
            }
            self.from
                .patiently(|| mapping::bring_up_if_there(&self.client, FACES, &self.next))
                .await?;
            return self.show_life().await;
        };
        expect_left(&self.client, &begun.index).await?;
        self.from
            .patiently(|| mapping::bring_up_if_there(&self.client, FACES, &begun.index))
            .await?;
        let found = resolve::describe_index(&self.client, &self.collection.name, &begun.index).await?;
        if self.goal.is_met(&found) {
            return self.show_life().await;
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

    async fn pass<C: Carrier>(
        &self,
        carrier: &mut C,
        outcome: &mut Outcome,
        progress: &dyn Fn(Step),
    ) -> Result<Round, LifecycleError> {
        outcome.rounds += 1;
        let number = outcome.rounds;
        let done = round(&self.from, &self.to, carrier, &|faces| {
            progress(Step::Passed(number, faces))
        })
        .await?;
        progress(Step::Round(number, done));
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
    async fn complete(&self, progress: &dyn Fn(Step)) -> Result<(), LifecycleError> {
        let mut index = self.own_settings().await?;
        if let Some(replicas) = self.goal.layout.replicas {
            index["auto_expand_replicas"] = json!(false);
            index["number_of_replicas"] = json!(replicas);
        }
        self.settings(&self.next, &json!({"index": index})).await?;
        let path = format!("/_cluster/health/{}", self.next);
        let query = [("wait_for_no_initializing_shards", "true"), ("timeout", "20s")];
        let mut backoff = Backoff::new(self.from.policy);
        loop {
            let (answer, pause) = self
                .client
                .json_and_pause::<Value>("wait for the replicas", Method::Get, &path, &query, Payload::None)
                .await;
            match answer {
                Ok(_) => return Ok(()),
                // Copying takes as long as it takes.
                Err(ElasticError::Refused { status: 408, .. }) => {
                    self.from.progress(&mut backoff);
                    progress(Step::Copying);
                }
                Err(error) if error.is_transient() => {
                    self.from.wait(&mut backoff, 1, &error.to_string(), pause).await?;
                }
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
        progress: &dyn Fn(Step),
    ) -> Result<(), LifecycleError> {
        for _ in 0..ROUNDS_BLOCKED {
            let done = self.pass(carrier, outcome, progress).await?;
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
    async fn try_searches(
        &self,
        care: &Care,
        searches: usize,
        progress: &dyn Fn(Step),
    ) -> Result<Sample, LifecycleError> {
        let new = resolve::describe_index(&self.client, &self.collection.name, &self.next).await?;
        let tried = sample(&self.to, &self.collection, &new, searches).await?;
        progress(Step::Sampled(tried));
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
        let body = json!({"actions": actions});
        let _: Value = self
            .client
            .json("switch the alias", Method::Post, "/_aliases", &[], Payload::Json(&body))
            .await?;
        // The old index stays blocked: whoever still writes to it by its name would write into the void.
        self.blocked = false;
        Ok(())
    }
}

/// Refuses an index that a migration builds right now.
pub(super) async fn expect_left(client: &Client, index: &str) -> Result<(), LifecycleError> {
    match alive::is_shown(client, index, WORK).await? == Some(true) {
        true => Err(LifecycleError::GoesOn {
            index: index.to_owned(),
            seconds: alive::DEAD.as_secs(),
        }),
        false => Ok(()),
    }
}
