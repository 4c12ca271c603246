//! An index and a peer by turns, so that whatever else the machine does meets both: the same queries, a block of each at a time.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use facedex::eval::Interval;
use facedex::eval::bootstrap::intervals;
use rand::RngExt as _;

use super::SEED;
use super::measure::{Asking, by_turns};
use super::peers::Process;
use super::record::{PeerKey, Place, Record, SearchKey};
use super::results::Results;
use crate::error::BenchError;
use crate::median::median;

/// Turns.
const TURNS: usize = 12;
/// Queries of a turn.
const BLOCK: usize = 50;

/// Measures searches beside a peer, in the first of its ways (with their recall@10) that finds as much. Nothing where the
/// searches' own recall is not known.
pub async fn measure(
    process: &mut Process,
    ways: &[(PeerKey, f64)],
    search: &SearchKey,
    asking: &Arc<Asking>,
    results: &Results,
    place: &Place,
) -> Result<Option<Record>, BenchError> {
    let Some(recall_at_10) = results.recall_at_10(search) else {
        return Ok(None);
    };
    let finds_as_much = ways.iter().position(|(_, recall)| *recall >= recall_at_10);
    let Some(way) = finds_as_much.or(ways.len().checked_sub(1)) else {
        return Ok(None);
    };
    let (peer, peer_recall_at_10) = ways[way].clone();
    let count = asking.count();
    let (mut of_search, mut of_peer) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let start = turn * BLOCK % count.max(1);
        let queries = start..(start + BLOCK).min(count);
        // Who goes first changes: the second finds the processor's caches and clock as the first left them.
        if turn % 2 == 0 {
            of_search.push(ask(asking, &queries).await?);
            of_peer.push(median(process.ask(way, &queries).await?.into_iter()));
        } else {
            of_peer.push(median(process.ask(way, &queries).await?.into_iter()));
            of_search.push(ask(asking, &queries).await?);
        }
    }
    let ratios: Vec<f64> = of_search
        .iter()
        .zip(&of_peer)
        .map(|(search, peer)| search / peer)
        .collect();
    Ok(Some(Record::Turns {
        search: *search,
        peer,
        recall_at_10,
        peer_recall_at_10,
        search_ms: median(of_search.into_iter()),
        peer_ms: median(of_peer.into_iter()),
        ratio: median(ratios.iter().copied()),
        interval: of_median(&ratios),
        turns: TURNS,
        place: Place {
            elasticsearch: results.version.clone(),
            ..place.clone().now()
        },
    }))
}

/// The median of these queries' milliseconds, one after the other.
async fn ask(asking: &Asking, queries: &Range<usize>) -> Result<f64, BenchError> {
    let mut millis = Vec::with_capacity(queries.len());
    for number in queries.clone() {
        let start = Instant::now();
        asking.ask(by_turns(number, asking.count())).await?;
        millis.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(median(millis.into_iter()))
}

/// The 95 % interval of the median of some turns.
fn of_median(ratios: &[f64]) -> Interval {
    let [interval] = intervals(SEED, |dice| {
        [median(
            (0..ratios.len()).map(|_| ratios[dice.random_range(0..ratios.len())]),
        )]
    });
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_no_outlier() {
        let ratios = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98, 1.0, 1.01, 0.99, 7.0];
        let [low, high] = of_median(&ratios);
        assert!((0.9..=1.0).contains(&low) && (1.0..1.1).contains(&high), "{low} {high}");
    }
}
