//! Our stages against the reference implementations' figures (tests/golden/reference.py says what they are and how far
//! they may differ). Each stage gets the reference's own input, so that differences do not add up.

use std::sync::{Mutex, MutexGuard, OnceLock};

use facedex_face::detect::Detector;
use facedex_face::embed::Embedder;
use facedex_face::geometry::Landmarks;
use facedex_face::image::{Limits, decode};
use facedex_face::landmarks::Refiner;
use facedex_face::models::catalog::{Catalog, Provider};
use facedex_face::models::runtime::Runtime;
use facedex_face::{FaceEngine, Point, Recipe, Rect};
use image::RgbImage;
use serde::Deserialize;

use crate::harness::{fetch_models, photo};

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    file: String,
    rect: [u32; 4],
    faces: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    #[serde(rename = "box")]
    bbox: [f32; 4],
    score: f32,
    landmarks: Landmarks,
    refined: Refined,
    embedding: Option<Vec<f32>>,
}

#[derive(Deserialize)]
struct Refined {
    landmarks: Landmarks,
    embedding: Option<Vec<f32>>,
}

struct Stages {
    detector: Detector,
    refiner: Refiner,
    embedder: Embedder,
    engine: FaceEngine,
}

fn stages() -> MutexGuard<'static, Stages> {
    static STAGES: OnceLock<Mutex<Stages>> = OnceLock::new();
    let stages = STAGES.get_or_init(|| {
        fetch_models();
        let catalog = Catalog::builtin().unwrap();
        let runtime = Runtime::open(&catalog, None, Provider::Cpu).unwrap();
        Mutex::new(Stages {
            detector: Detector::load(&runtime, catalog.default_detector(), 1).unwrap(),
            refiner: Refiner::load(&runtime, catalog.default_refiner(), 1).unwrap(),
            embedder: Embedder::load(&runtime, catalog.default_embedder(), 1).unwrap(),
            engine: FaceEngine::load(&runtime, &Recipe::default_of(&catalog).unwrap(), 1).unwrap(),
        })
    });
    // A test that failed leaves the networks as usable as they were.
    stages.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn cases() -> Vec<(Case, RgbImage)> {
    let reference: Reference = serde_json::from_str(include_str!("../golden/reference.json")).unwrap();
    assert!(reference.cases.len() >= 15);
    reference
        .cases
        .into_iter()
        // Every decoder has its own way from CMYK to RGB.
        .filter(|case| !case.name.contains("cmyk"))
        .map(|case| {
            let whole = decode(&std::fs::read(photo(&case.file)).unwrap(), &Limits::default()).unwrap();
            let [x, y, width, height] = case.rect;
            let cut = image::imageops::crop_imm(&whole, x, y, width, height).to_image();
            (case, cut)
        })
        .collect()
}

fn distance(a: &Landmarks, b: &Landmarks) -> f32 {
    a.iter()
        .zip(b)
        .map(|(p, q): (&Point, &Point)| (p.x - q.x).hypot(p.y - q.y))
        .fold(0.0, f32::max)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn boxes_and_landmarks_are_opencv_s() {
    let mut stages = stages();
    for (case, photo) in cases() {
        let found = stages.detector.detect_at_native_size(&photo).unwrap();
        assert_eq!(found.len(), case.faces.len(), "{}: number of faces", case.name);
        for (ours, theirs) in found.iter().zip(&case.faces) {
            let [x, y, width, height] = theirs.bbox;
            let bbox = Rect { x, y, width, height };
            let tolerance = 0.02 * width.max(height);
            assert!(ours.bbox.iou(&bbox) > 0.95, "{}: {ours:?} against {bbox:?}", case.name);
            assert!(
                (ours.score - theirs.score).abs() < 0.02,
                "{}: {} against {}",
                case.name,
                ours.score,
                theirs.score
            );
            let off = distance(&ours.landmarks, &theirs.landmarks);
            assert!(off < tolerance, "{}: landmarks are {off} px off", case.name);
        }
    }
}

#[test]
fn refined_landmarks_are_the_reference_s() {
    let mut stages = stages();
    for (case, photo) in cases() {
        // The last bit of sampling moves these (the reference says so).
        let share = if case.name.starts_with("solvay") || case.name.starts_with("guido") {
            0.03
        } else {
            0.01
        };
        for theirs in &case.faces {
            let [x, y, width, height] = theirs.bbox;
            let detection = facedex_face::detect::Detection {
                bbox: Rect { x, y, width, height },
                landmarks: theirs.landmarks,
                score: theirs.score,
            };
            let ours = stages.refiner.refine(&photo, &detection).unwrap();
            let off = distance(&ours, &theirs.refined.landmarks);
            assert!(
                off <= share * width,
                "{}: landmarks are {off} px off in a face of {width}",
                case.name
            );
        }
    }
}

#[test]
fn embeddings_are_opencv_s_on_the_same_landmarks() {
    let mut stages = stages();
    let mut compared = 0;
    for (case, photo) in cases() {
        for theirs in &case.faces {
            for (landmarks, embedding) in [
                (&theirs.landmarks, &theirs.embedding),
                (&theirs.refined.landmarks, &theirs.refined.embedding),
            ] {
                let Some(embedding) = embedding else { continue };
                let alignment = stages.embedder.alignment(landmarks).unwrap();
                let crop = stages.embedder.crop(&photo, &alignment);
                let ours = stages.embedder.embed(&crop).unwrap();
                assert!((cosine(&ours, &ours) - 1.0).abs() < 1e-5);
                let cosine = cosine(&ours, embedding);
                assert!(cosine >= 0.999, "{}: cosine {cosine}", case.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 50, "only {compared} embeddings compared");
}

#[test]
fn the_whole_engine_finds_everybody_in_order_and_again() {
    let mut stages = stages();
    let photo = decode(
        &std::fs::read(photo("crowd/solvay-1927.png")).unwrap(),
        &Limits::default(),
    )
    .unwrap();
    let faces = stages.engine.faces(&photo).unwrap();
    assert_eq!(faces.len(), 29);
    assert!(
        faces
            .windows(2)
            .all(|pair| (pair[0].bbox.y, pair[0].bbox.x) <= (pair[1].bbox.y, pair[1].bbox.x))
    );
    assert_eq!(faces, stages.engine.faces(&photo).unwrap());
}

#[test]
fn a_face_is_found_however_large_the_photo() {
    let mut stages = stages();
    let original = crate::harness::images::open("gallery/Eileen_Collins/astronaut.png").to_rgb8();
    let expected = &stages.engine.faces(&original).unwrap()[0];
    // A face that fills most of a photo, and the same enlarged far beyond what the detector sees at once.
    for side in [700, 3000] {
        let bbox = &expected.bbox;
        let close = image::imageops::crop_imm(
            &original,
            (bbox.x - 0.15 * bbox.width) as u32,
            (bbox.y - 0.15 * bbox.height) as u32,
            (1.3 * bbox.width) as u32,
            (1.3 * bbox.height) as u32,
        )
        .to_image();
        let large = image::imageops::resize(
            &close,
            side,
            side * close.height() / close.width(),
            image::imageops::FilterType::CatmullRom,
        );
        let faces = stages.engine.faces(&large).unwrap();
        assert_eq!(faces.len(), 1, "at {side} pixels");
        let similarity = cosine(&faces[0].embedding, &expected.embedding);
        assert!(similarity > 0.8, "similarity {similarity} at {side} pixels");
    }
}
