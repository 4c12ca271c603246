//! Where the time of the workers goes, and what holds the run up.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Serialize;

/// What a worker can be busy with, or wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Waiting for a photo to be read.
    WaitForPhoto,
    /// Bytes to pixels.
    Decode,
    /// Pixels to boxes.
    Detect,
    /// Better landmarks.
    Refine,
    /// The aligned crop and its quality.
    Align,
    /// Crop to vector.
    Embed,
    /// Documents.
    Document,
    /// Waiting until Elasticsearch has taken earlier photos.
    WaitForDelivery,
}

const ALL: [Work; 8] = [
    Work::WaitForPhoto,
    Work::Decode,
    Work::Detect,
    Work::Refine,
    Work::Align,
    Work::Embed,
    Work::Document,
    Work::WaitForDelivery,
];

impl Work {
    /// Its name in tables and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaitForPhoto => "wait for photo",
            Self::Decode => "decode",
            Self::Detect => "detect",
            Self::Refine => "refine",
            Self::Align => "align",
            Self::Embed => "embed",
            Self::Document => "document",
            Self::WaitForDelivery => "wait for delivery",
        }
    }
}

/// Time that was spent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    works: [Duration; ALL.len()],
    /// What the models themselves ran, within the stages that use them.
    pub inference: Duration,
}

impl Times {
    /// Adds time that a stage took.
    pub fn add(&mut self, work: Work, time: Duration) {
        self.works[work as usize] += time;
    }
}

/// Time spent, summed over all workers.
#[derive(Debug, Default)]
pub struct Profile(Mutex<Times>);

/// One stage's part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StageShare {
    /// Which.
    pub stage: Work,
    /// All workers together.
    pub seconds: f64,
    /// Of the workers' time, 0 to 1.
    pub share: f64,
}

/// A finished profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shares {
    /// In the order of the stages.
    pub stages: Vec<StageShare>,
    /// Seconds that the models themselves ran, all workers together,
    pub inference_seconds: f64,
    /// and their share of the workers' time.
    pub inference: f64,
    /// What holds the run up, in words.
    pub bottleneck: String,
}

impl Profile {
    /// Adds what one photo took.
    pub fn add(&self, times: &Times) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.inference += times.inference;
        for (work, time) in ALL.into_iter().zip(times.works) {
            sums.add(work, time);
            metrics::histogram!("facedex_stage_seconds", "stage" => work.name()).record(time.as_secs_f64());
        }
    }

    /// The sums so far.
    pub fn shares(&self) -> Shares {
        let sums = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: f64 = sums.works.iter().map(Duration::as_secs_f64).sum();
        let share = |seconds: f64| if total > 0.0 { seconds / total } else { 0.0 };
        let stages: Vec<_> = ALL
            .into_iter()
            .zip(sums.works)
            .map(|(stage, time)| StageShare {
                stage,
                seconds: time.as_secs_f64(),
                share: share(time.as_secs_f64()),
            })
            .collect();
        let of = |wanted: Work| stages[wanted as usize].share;
        let (reading, delivery) = (of(Work::WaitForPhoto), of(Work::WaitForDelivery));
        let busiest = stages
            .iter()
            .filter(|part| !matches!(part.stage, Work::WaitForPhoto | Work::WaitForDelivery))
            .max_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let bottleneck = if reading > 0.3 && reading > delivery {
            "reading: workers wait for photos; more --readers, or a faster source".to_owned()
        } else if delivery > 0.3 {
            "Elasticsearch: workers wait for documents to be taken; more --bulk-in-flight, or more nodes".to_owned()
        } else {
            let (name, share) = busiest.map_or(("nothing", 0.0), |part| (part.stage.name(), part.share));
            format!(
                "the processor: {name} takes most ({:.0} %); more cores or machines (--shard)",
                share * 100.0
            )
        };
        Shares {
            stages,
            inference_seconds: sums.inference.as_secs_f64(),
            inference: share(sums.inference.as_secs_f64()),
            bottleneck,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_the_workers_wait_for() {
        let of = |work, seconds| {
            let profile = Profile::default();
            let mut times = Times {
                inference: Duration::from_secs(4),
                ..Times::default()
            };
            times.add(Work::Embed, Duration::from_secs(5));
            times.add(work, Duration::from_secs(seconds));
            profile.add(&times);
            profile.shares()
        };
        assert!(of(Work::WaitForPhoto, 5).bottleneck.starts_with("reading"));
        assert!(of(Work::WaitForDelivery, 5).bottleneck.starts_with("Elasticsearch"));
        let busy = of(Work::Decode, 1);
        assert!(busy.bottleneck.contains("embed takes most"), "{busy:?}");
        assert!((busy.inference - 4.0 / 6.0).abs() < 1e-9);
    }
}
