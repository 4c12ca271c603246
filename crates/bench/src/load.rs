//! A closed loop of clients: each sends its next request when the answer to the last has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

/// A request that can be sent again and again; the number tells which one it is.
pub type Make = Arc<dyn Fn(usize) -> reqwest::RequestBuilder + Send + Sync>;

/// What some clients saw.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Load {
    /// Clients at once.
    pub clients: usize,
    /// Answers with status 200 a second.
    pub per_second: f64,
    /// Milliseconds until the whole answer was there, of those with status 200.
    pub p50_ms: f64,
    /// The same, 95 of 100 were faster.
    pub p95_ms: f64,
    /// The same, 99 of 100.
    pub p99_ms: f64,
    /// Answers by status; 0 is a connection that failed.
    pub statuses: BTreeMap<u16, u64>,
}

/// Lets `clients` ask for so long.
pub async fn closed_loop(make: &Make, clients: usize, length: Duration) -> Load {
    let make = Arc::clone(make);
    closed_loop_of(move |number| ask(make(number)), clients, length).await
}

/// The same with anything that can be asked again and again: it gives a status and milliseconds.
pub async fn closed_loop_of<F>(
    question: impl Fn(usize) -> F + Clone + Send + 'static,
    clients: usize,
    length: Duration,
) -> Load
where
    F: Future<Output = (u16, f64)> + Send,
{
    let start = Instant::now();
    let number = Arc::new(AtomicUsize::new(0));
    let mut asking = JoinSet::new();
    for _ in 0..clients {
        let (question, number) = (question.clone(), Arc::clone(&number));
        asking.spawn(async move {
            let mut seen = Vec::new();
            while start.elapsed() < length {
                let (status, took) = question(number.fetch_add(1, Ordering::Relaxed)).await;
                seen.push((status, took));
                if status == 429 {
                    // As a client would that is told to come again; at once would only be a busier loop.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            seen
        });
    }
    let seen: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
    summarise(clients, &seen, start.elapsed())
}

/// Sends one request and reads its whole answer: the status (0 without one) and the milliseconds.
pub async fn ask(request: reqwest::RequestBuilder) -> (u16, f64) {
    let start = Instant::now();
    let status = match request.send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            answer.bytes().await.map_or(0, |_| status)
        }
        Err(_) => 0,
    };
    (status, start.elapsed().as_secs_f64() * 1000.0)
}

/// The figures of some answers.
pub fn summarise(clients: usize, seen: &[(u16, f64)], length: Duration) -> Load {
    let mut times: Vec<f64> = seen
        .iter()
        .filter(|(status, _)| *status == 200)
        .map(|(_, ms)| *ms)
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (times.len() as f64 * share).ceil() as usize;
        times.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    let mut statuses = BTreeMap::new();
    for (status, _) in seen {
        *statuses.entry(*status).or_default() += 1;
    }
    Load {
        clients,
        per_second: times.len() as f64 / length.as_secs_f64(),
        p50_ms: at(0.5),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        statuses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_answers_that_came() {
        let seen: Vec<_> = (1..=100)
            .map(|ms| (200, f64::from(ms)))
            .chain([(429, 1000.0)])
            .collect();
        let load = summarise(4, &seen, Duration::from_secs(2));
        assert_eq!((load.p50_ms, load.p95_ms, load.p99_ms), (50.0, 95.0, 99.0));
        assert_eq!((load.per_second, load.statuses[&429]), (50.0, 1));
    }
}
