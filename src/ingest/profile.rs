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

    fn is_inference(self) -> bool {
        matches!(self, Self::Detect | Self::Refine | Self::Embed)
    }
}

/// Time spent, summed over all workers.
#[derive(Debug, Default)]
pub struct Profile(Mutex<[Duration; ALL.len()]>);

/// A finished profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shares {
    /// Seconds and share of the workers' time, in the order of the stages.
    pub stages: Vec<(Work, f64, f64)>,
    /// The share of the workers' time that is inference.
    pub inference: f64,
    /// What holds the run up, in words.
    pub bottleneck: String,
}

impl Profile {
    /// Adds what one photo took.
    pub fn add(&self, times: &[(Work, Duration)]) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for &(work, time) in times {
            sums[work as usize] += time;
            metrics::histogram!("facedex_stage_seconds", "stage" => work.name()).record(time.as_secs_f64());
        }
    }

    /// The sums so far.
    pub fn shares(&self) -> Shares {
        let sums = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: f64 = sums.iter().map(Duration::as_secs_f64).sum();
        let share = |seconds: f64| if total > 0.0 { seconds / total } else { 0.0 };
        let stages: Vec<_> = ALL
            .iter()
            .map(|&work| {
                let seconds = sums[work as usize].as_secs_f64();
                (work, seconds, share(seconds))
            })
            .collect();
        let of = |wanted: fn(Work) -> bool| -> f64 {
            let matching = stages.iter().filter(|(work, ..)| wanted(*work));
            matching.map(|(_, _, share)| share).sum()
        };
        let inference = of(Work::is_inference);
        let reading = of(|work| work == Work::WaitForPhoto);
        let delivery = of(|work| work == Work::WaitForDelivery);
        let busiest = stages
            .iter()
            .filter(|(work, ..)| !matches!(work, Work::WaitForPhoto | Work::WaitForDelivery))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let bottleneck = if reading > 0.3 && reading > delivery {
            "reading: workers wait for photos; more --readers, or a faster source".to_owned()
        } else if delivery > 0.3 {
            "Elasticsearch: workers wait for documents to be taken; more --bulk-in-flight, or more nodes".to_owned()
        } else {
            let (name, share) = busiest.map_or(("nothing", 0.0), |(work, _, share)| (work.name(), *share));
            format!(
                "the processor: {name} takes most ({:.0} %); more cores or machines (--shard)",
                share * 100.0
            )
        };
        Shares {
            stages,
            inference,
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
            profile.add(&[
                (Work::Embed, Duration::from_secs(5)),
                (work, Duration::from_secs(seconds)),
            ]);
            profile.shares()
        };
        assert!(of(Work::WaitForPhoto, 5).bottleneck.starts_with("reading"));
        assert!(of(Work::WaitForDelivery, 5).bottleneck.starts_with("Elasticsearch"));
        let busy = of(Work::Decode, 1);
        assert!(busy.bottleneck.contains("embed takes most"), "{busy:?}");
        assert!((busy.inference - 5.0 / 6.0).abs() < 1e-9);
    }
}
