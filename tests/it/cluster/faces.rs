//! Made-up faces, enough of them to tell whether an approximate search still finds what an exact one does.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::harness::api::{http, send};

pub const COUNT: u64 = 1500;
/// What tells them from faces of photos.
const ENGINE: &str = "made-up";
/// Searches that recall is measured by, and how many neighbours each is to find.
const QUERIES: u64 = 40;
const NEIGHBOURS: usize = 10;

/// A random direction; numbers from [`COUNT`] on are stored nowhere.
pub fn vector(number: u64) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(number);
    let vector: Vec<f32> = (0..128).map(|_| random.random_range(-1.0..1.0)).collect();
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter().map(|value| value / norm).collect()
}

pub fn id(number: u64) -> String {
    format!("{number:032x}-0")
}

/// Fifty faces are one person's.
pub fn person(number: u64) -> String {
    format!("made-up-{}", number % (COUNT / 50))
}

/// Writes them all.
pub fn store(url: &str, collection: &str) {
    let mut lines = String::new();
    for number in 0..COUNT {
        let document = json!({
            "@timestamp": "2026-01-01T00:00:00Z",
            "face": {"embedding": vector(number), "box": {"x": 0, "y": 0, "width": 1, "height": 1}},
            "person": {"id": person(number)},
            "image": {"engine": ENGINE, "hash": format!("{number:032x}"), "uri": "made-up:"},
        });
        writeln!(lines, "{}\n{document}", json!({"create": {"_id": id(number)}})).unwrap();
    }
    let path = format!("{url}/{collection}/_bulk?refresh=true");
    let request = http().post(path).header("content-type", "application/x-ndjson");
    let answer = send(request.body(lines)).expect(200);
    assert_eq!(answer["errors"], false);
}

/// A knn clause among them, as hard as facedex itself searches.
pub fn knn(vector: &[f32], k: usize) -> Value {
    json!({
        "field": "face.embedding", "query_vector": vector, "k": k, "num_candidates": 400,
        "rescore_vector": {"oversample": 5.0}, "filter": {"term": {"image.engine": ENGINE}},
    })
}

/// The share of the true nearest neighbours that searches find.
pub fn recall(serve: &str, collection: &str) -> f64 {
    let stored: Vec<Vec<f32>> = (0..COUNT).map(vector).collect();
    let mut found = 0;
    for query in COUNT..COUNT + QUERIES {
        let query = vector(query);
        let cosine = |number: &u64| -> f32 {
            let stored = &stored[*number as usize];
            stored.iter().zip(&query).map(|(a, b)| a * b).sum()
        };
        let mut order: Vec<u64> = (0..COUNT).collect();
        order.sort_by(|a, b| cosine(b).total_cmp(&cosine(a)));
        let body = json!({"knn": knn(&query, NEIGHBOURS), "size": NEIGHBOURS, "_source": false});
        let answer = send(http().post(format!("{serve}/es/{collection}/_search")).json(&body)).expect(200);
        let hits = answer["hits"]["hits"].as_array().unwrap();
        let is_hit = |number: &&u64| hits.iter().any(|hit| hit["_id"] == id(**number));
        found += order[..NEIGHBOURS].iter().filter(is_hit).count();
    }
    found as f64 / (QUERIES as usize * NEIGHBOURS) as f64
}
