//! How long each stage takes for one photo of 250 x 250 pixels with one face, on one thread: `make bench`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot run has nothing to recover"
)]

mod material;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use facedex_elastic::read::search::SearchReply;
use facedex_elastic::schema::embedding::Form;
use facedex_face::align::warp;
use facedex_face::detect::Detector;
use facedex_face::embed::Embedder;
use facedex_face::image::{Limits, decode};
use facedex_face::landmarks::Refiner;
use facedex_face::models::catalog::{Catalog, Metric, Provider};
use facedex_face::models::runtime::Runtime;
use facedex_face::{FaceEngine, Precision, Recipe};

fn stages(criterion: &mut Criterion) {
    let catalog = Catalog::builtin().unwrap();
    let runtime = Runtime::open(&catalog, None, Provider::Cpu).unwrap();
    let (jpeg, photo) = (material::jpeg(), material::photo());
    let (landmarks, alignment, document) = (material::landmarks(), material::alignment(), material::document());

    criterion.bench_function("decode", |bencher| {
        bencher.iter(|| decode(black_box(&jpeg), &Limits::default()).unwrap());
    });
    let mut detector = Detector::load(&runtime, catalog.default_detector(), 1).unwrap();
    let found = detector.detect(&photo).unwrap();
    assert!(!found.is_empty(), "there is a face in the photo");
    criterion.bench_function("detect", |bencher| {
        bencher.iter(|| detector.detect(black_box(&photo)).unwrap())
    });
    let mut refiner = Refiner::load(&runtime, catalog.default_refiner(), 1).unwrap();
    criterion.bench_function("refine", |bencher| {
        bencher.iter(|| refiner.refine(black_box(&photo), &found[0]).unwrap());
    });
    let mut embedder = Embedder::load(&runtime, catalog.default_embedder(), 1).unwrap();
    criterion.bench_function("align", |bencher| {
        bencher.iter(|| warp(black_box(&photo), &alignment, 112));
    });
    let crop = embedder.crop(&photo, &alignment);
    criterion.bench_function("assess", |bencher| {
        bencher.iter(|| material::quality(black_box(&photo), &landmarks, &alignment, &crop))
    });
    criterion.bench_function("embed", |bencher| {
        bencher.iter(|| embedder.embed(black_box(&crop)).unwrap())
    });
    let recipe = Recipe::new(&catalog, None, None, Precision::default()).unwrap();
    let mut engine = FaceEngine::load(&runtime, &recipe, 1).unwrap();
    criterion.bench_function("pixels to faces", |bencher| {
        bencher.iter(|| engine.faces(black_box(&photo)).unwrap());
    });
    criterion.bench_function("encode a document", |bencher| {
        bencher.iter(|| black_box(&document).encode(Form::Base64).unwrap());
    });
    for hits in [10, 100] {
        let answer = material::answer(hits);
        criterion.bench_function(&format!("read {hits} hits"), |bencher| {
            bencher.iter(|| {
                let reply: SearchReply = serde_json::from_slice(black_box(&answer)).unwrap();
                reply.hits(Metric::Cosine)
            });
        });
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
