//! Exhaustive search: every stored vector is read and compared here, so that nobody is missed for an index's sake. The cost
//! is the whole collection over the wire for each search: time and traffic grow with the number of faces.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use facedex_base::similarity::similarity;
use facedex_elastic::read::knn::Knn;
use facedex_elastic::read::search::{self, Hit};
use facedex_elastic::read::vectors::{self, Beside};
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::transport::retry::RetryPolicy;
use facedex_elastic::{Client, Destination, ElasticError};

/// For how long Elasticsearch may take no request.
const PATIENCE: Duration = Duration::from_secs(60);

/// The `query.k` stored faces that are most alike, best first, of all that meet the conditions.
pub async fn nearest(client: &Arc<Client>, collection: &Collection, query: &Knn<'_>) -> Result<Vec<Hit>, ElasticError> {
    let (vector, k) = (query.vector.to_vec(), query.k);
    let least = query.min_similarity.map_or(f32::NEG_INFINITY, |least| least as f32);
    let best_of_page = move |page: Vec<vectors::StoredVector>| {
        let compared = page
            .into_iter()
            .map(|stored| (similarity(&vector, &stored.vector), stored.id));
        // The same face may come out a rounding error below its own similarity.
        let alike = compared.filter(|(similarity, _)| *similarity >= least - 1e-6);
        best(alike.collect(), k)
    };
    let policy = RetryPolicy {
        give_up_after: Some(PATIENCE),
        ..RetryPolicy::DEFAULT
    };
    let pages = vectors::map(
        &Destination::new(Arc::clone(client), collection, policy),
        collection.shards,
        query.filters,
        Beside::Nothing,
        Arc::new(best_of_page),
    )
    .await?;
    let found = best(pages.into_iter().flatten().collect(), k);
    let found: Vec<(String, f64)> = found
        .into_iter()
        .map(|(similarity, id)| (id, f64::from(similarity)))
        .collect();
    search::by_id(client, collection, &found).await
}

/// The `k` most alike, best first; of equals the one whose id comes first.
fn best(mut compared: Vec<(f32, String)>, k: usize) -> Vec<(f32, String)> {
    let order = |a: &(f32, String), b: &(f32, String)| -> Ordering { b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)) };
    if compared.len() > k && k > 0 {
        compared.select_nth_unstable_by(k - 1, order);
        compared.truncate(k);
    }
    compared.sort_by(order);
    compared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::verify;

    #[test]
    fn the_same_similarity_at_any_length() {
        for length in [0, 1, 15, 16, 17, 128, 250] {
            let a: Vec<f32> = (0..length).map(|i| (i as f32 * 0.5).sin()).collect();
            let b: Vec<f32> = (0..length).map(|i| (i as f32 * 0.25).cos()).collect();
            let plain = verify::similarity(&a, &b);
            assert!(
                (f64::from(similarity(&a, &b)) - plain).abs() <= plain.abs() * 1e-5,
                "{length}"
            );
        }
    }

    #[test]
    fn the_best_are_kept_in_order() {
        let compared = [(0.1, "d"), (0.9, "b"), (0.9, "a"), (0.5, "c")].map(|(at, id)| (at, id.to_owned()));
        let ids = |k| {
            best(compared.to_vec(), k)
                .into_iter()
                .map(|(_, id)| id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(3), ["a", "b", "c"]);
        assert_eq!(ids(9), ["a", "b", "c", "d"]);
    }
}
