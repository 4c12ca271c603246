//! Made-up faces, written straight into the index: many, soon, and known to the last digit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::Space;

/// The id of the made-up face of this number.
pub fn id(number: u64) -> String {
    format!("{:032x}-0", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A vector of its own, of length 1: random (splitmix64), but always the same.
pub fn vector(number: u64) -> Vec<f32> {
    let mut state = number;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64 - 0.5
    };
    let raw: Vec<f64> = (0..128).map(|_| next()).collect();
    let norm = raw.iter().map(|value| value * value).sum::<f64>().sqrt();
    raw.into_iter().map(|value| (value / norm) as f32).collect()
}

/// The document of the made-up face of this number.
pub fn document(number: u64) -> Value {
    let id = id(number);
    json!({
        "@timestamp": "2026-01-01T00:00:00.000Z",
        "face": {
            "embedding": vector(number),
            "box": {"x": 1.0, "y": 2.0, "width": 30.0, "height": 40.0},
            "score": 0.9,
            "quality": {"size": 30.0, "sharpness": 0.5, "brightness": number as f64 / 1e6, "contrast": 0.2, "yaw": 0.0, "roll": 0.0, "visible": 1.0},
        },
        "person": {"id": format!("person-{}", number / 4)},
        "image": {"uri": format!("made-up:{number}"), "hash": id[..32], "width": 100, "height": 100, "faces": 1, "engine": "made-up"},
        "labels": {"tenth": (number % 10).to_string()},
        "label_pairs": [format!("tenth={}", number % 10)],
        "model": {"space": "sface-2021dec@arcface-112"},
        "ingest": {"run": "made-up", "host": "made-up"},
    })
}

impl Space {
    /// Sends lines to `_bulk`, and gives the answer's items.
    pub fn bulk(&self, lines: &[Value]) -> Vec<Value> {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let reply = reqwest::blocking::Client::new()
            .post(format!(
                "{}/{}/_bulk?require_alias=true",
                self.url.trim_end_matches('/'),
                self.name
            ))
            .header("content-type", "application/x-ndjson")
            .body(body)
            .send()
            .unwrap();
        let reply: Value = reply.json().unwrap();
        reply["items"].as_array().unwrap_or_else(|| panic!("{reply}")).clone()
    }

    /// Stores made-up faces.
    pub fn fill(&self, numbers: std::ops::Range<u64>) {
        for part in numbers.collect::<Vec<_>>().chunks(500) {
            let lines: Vec<Value> = part
                .iter()
                .flat_map(|&number| [json!({"create": {"_id": id(number)}}), document(number)])
                .collect();
            for item in self.bulk(&lines) {
                assert_eq!(item["create"]["status"], 201, "{item}");
            }
        }
    }

    /// The vectors of these faces, as a search gives them.
    pub fn vectors(&self) -> BTreeMap<String, Vec<f32>> {
        self.count();
        let body = json!({"size": 10_000, "_source": false, "fields": ["face.embedding"]});
        let (_, reply) = self.elastic("POST", &format!("/{}/_search", self.name), Some(body));
        let hits = reply["hits"]["hits"].as_array().unwrap();
        hits.iter()
            .map(|hit| {
                let values = hit["fields"]["face.embedding"].as_array().unwrap();
                let vector = values.iter().map(|value| value.as_f64().unwrap() as f32).collect();
                (hit["_id"].as_str().unwrap().to_owned(), vector)
            })
            .collect()
    }

    /// The index that the alias stands for.
    pub fn live_index(&self) -> String {
        let (_, reply) = self.elastic("GET", &format!("/{}", self.name), None);
        let indices: Vec<&String> = reply.as_object().unwrap().keys().collect();
        assert_eq!(indices.len(), 1, "{reply}");
        indices[0].clone()
    }
}

/// Whether both hold the same faces with the same vectors, but for the last digits.
#[track_caller]
pub fn expect_same(found: &BTreeMap<String, Vec<f32>>, wanted: &BTreeMap<String, Vec<f32>>) {
    let lost: Vec<&String> = wanted.keys().filter(|id| !found.contains_key(*id)).collect();
    let extra: Vec<&String> = found.keys().filter(|id| !wanted.contains_key(*id)).collect();
    assert!(lost.is_empty() && extra.is_empty(), "lost {lost:?}, extra {extra:?}");
    for (id, vector) in wanted {
        let difference = vector
            .iter()
            .zip(&found[id])
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(difference < 1e-6, "{id} differs by {difference}");
    }
}
