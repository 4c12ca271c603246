//! What the benchmarks work on: a real photo as large as those of LFW, a face in it, its document, and an answer.

use std::collections::BTreeMap;

use facedex_elastic::schema::document::{
    FaceDocument, FaceFields, ImageFields, IngestFields, ModelFields, Person, face_id, image_hash,
};
use facedex_face::align::Similarity;
use facedex_face::geometry::Landmarks;
use facedex_face::image::{Limits, decode};
use facedex_face::models::catalog::{Catalog, cache_dir};
use facedex_face::quality::{Quality, assess};
use facedex_face::{Point, Rect};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, crop_imm, resize};
use serde_json::json;

/// Side of the photo, in pixels.
const SIDE: u32 = 250;

/// A photo of one person, as a file.
pub fn jpeg() -> Vec<u8> {
    let file = cache_dir().unwrap().join("photos/gallery/Eileen_Collins/astronaut.png");
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; run dev/photos", file.display()));
    let whole = decode(&bytes, &Limits::default()).unwrap();
    let side = whole.width().min(whole.height());
    let square = crop_imm(&whole, (whole.width() - side) / 2, 0, side, side).to_image();
    let small = resize(&square, SIDE, SIDE, FilterType::Triangle);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 90)
        .encode_image(&small)
        .unwrap();
    jpeg
}

/// Its pixels.
pub fn photo() -> RgbImage {
    decode(&jpeg(), &Limits::default()).unwrap()
}

/// Where the embedder wants landmarks.
pub fn template() -> Landmarks {
    let catalog = Catalog::builtin().unwrap();
    let crop = catalog.default_embedder().crop.as_ref().unwrap();
    crop.template.map(Point::from)
}

/// Landmarks of a face in the middle of the photo, somewhat larger than the crop and turned.
pub fn landmarks() -> Landmarks {
    template().map(|Point { x, y }| Point {
        x: 60.0 + 1.1 * x - 0.1 * y,
        y: 40.0 + 0.1 * x + 1.1 * y,
    })
}

/// Their box.
pub fn bbox() -> Rect {
    Rect {
        x: 70.0,
        y: 50.0,
        width: 110.0,
        height: 140.0,
    }
}

/// The transform that aligns them.
pub fn alignment() -> Similarity {
    Similarity::between(&landmarks(), &template()).unwrap()
}

/// A unit vector with as many digits as a real one.
fn embedding() -> Vec<f32> {
    let raw: Vec<f32> = (0..128).map(|at| (at as f32 * 1.7).sin()).collect();
    let norm = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.iter().map(|value| value / norm).collect()
}

/// The quality of the face with these landmarks, which this transform aligns.
pub fn quality(photo: &RgbImage, landmarks: &Landmarks, alignment: &Similarity, crop: &RgbImage) -> Quality {
    assess(photo, &bbox(), landmarks, alignment, crop)
}

/// The face as it is stored.
pub fn document() -> FaceDocument {
    let photo = photo();
    let alignment = alignment();
    let crop = facedex_face::align::warp(&photo, &alignment, 112);
    let hash = image_hash(&jpeg());
    let labels = BTreeMap::from([("album".to_owned(), "2026".to_owned())]);
    let mut document = FaceDocument {
        timestamp: "2026-11-26T08:00:00.123456789Z".to_owned(),
        face: FaceFields {
            embedding: embedding(),
            bbox: bbox(),
            landmarks: landmarks(),
            score: 0.931,
            quality: quality(&photo, &landmarks(), &alignment, &crop),
            thumbnail: None,
        },
        person: Some(Person {
            id: "Eileen_Collins".to_owned(),
            name: Some("Eileen Collins".to_owned()),
        }),
        image: ImageFields {
            uri: "file:///photos/Eileen_Collins/Eileen_Collins_0001.jpg".to_owned(),
            hash,
            coded: None,
            likeness: None,
            orientation: 1,
            width: SIDE,
            height: SIDE,
            faces: 1,
            engine: "1;yunet-2023mar:1280+320;onet;sface-2021dec".to_owned(),
            unfinished: false,
            previous: Vec::new(),
        },
        labels: BTreeMap::new(),
        label_pairs: Vec::new(),
        cluster: None,
        model: ModelFields {
            space: "sface-2021dec@arcface-112".to_owned(),
        },
        ingest: IngestFields {
            run: "5f0c6c39-9d0a-4c8c-8f6e-6f6a5f2f0001".to_owned(),
            host: "host".to_owned(),
        },
        ordinal: 0,
    };
    document.set_labels(labels);
    document
}

/// What Elasticsearch answers to a search that finds `hits` faces.
pub fn answer(hits: usize) -> Vec<u8> {
    let document = document();
    let hit = |at: usize| {
        json!({
            "_index": "facedex-faces-family-000001",
            "_id": face_id(&document.image.hash, at),
            "_score": 0.95 - at as f64 / 1000.0,
            "_source": {
                "face": {"box": document.face.bbox},
                "person": document.person,
                "image": {"uri": document.image.uri},
                "labels": document.labels,
            },
        })
    };
    let hits: Vec<_> = (0..hits).map(hit).collect();
    let reply = json!({
        "took": 12, "timed_out": false,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {"total": {"value": hits.len(), "relation": "eq"}, "max_score": 0.95, "hits": hits},
    });
    serde_json::to_vec(&reply).unwrap()
}
