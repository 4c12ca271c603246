//! How many instructions our own part of the work takes, models left out: a count that another machine's load does not
//! move. `make bench-instructions` compares it with the last run's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot run has nothing to recover"
)]
#![allow(
    clippy::disallowed_methods,
    missing_docs,
    reason = "what gungraun's macros make calls process::exit and has no comments"
)]

mod material;

use std::hint::black_box;

use facedex_elastic::read::search::{Hit, SearchReply};
use facedex_elastic::schema::document::FaceDocument;
use facedex_elastic::schema::embedding::Form;
use facedex_face::align::{Similarity, warp};
use facedex_face::geometry::Landmarks;
use facedex_face::image::{Limits, decode};
use facedex_face::models::catalog::Metric;
use facedex_face::quality::Quality;
use gungraun::prelude::*;
use image::RgbImage;

#[library_benchmark]
#[bench::of_250_pixels(material::jpeg())]
fn decoding(jpeg: Vec<u8>) -> RgbImage {
    decode(black_box(&jpeg), &Limits::default()).unwrap()
}

fn aligned() -> (RgbImage, Landmarks, Similarity, RgbImage) {
    let (photo, alignment) = (material::photo(), material::alignment());
    let crop = warp(&photo, &alignment, 112);
    (photo, material::landmarks(), alignment, crop)
}

#[library_benchmark]
#[bench::to_112_pixels(material::photo(), material::alignment())]
fn aligning(photo: RgbImage, alignment: Similarity) -> RgbImage {
    warp(black_box(&photo), &alignment, 112)
}

#[library_benchmark]
#[bench::of_112_pixels(aligned())]
fn assessing((photo, landmarks, alignment, crop): (RgbImage, Landmarks, Similarity, RgbImage)) -> Quality {
    material::quality(black_box(&photo), &landmarks, &alignment, &crop)
}

#[library_benchmark]
#[bench::of_128_dimensions(material::document())]
fn encoding(document: FaceDocument) -> bytes::Bytes {
    black_box(&document).encode(Form::Base64).unwrap()
}

#[library_benchmark]
#[bench::hits_10(material::answer(10))]
#[bench::hits_100(material::answer(100))]
fn reading(answer: Vec<u8>) -> Vec<Hit> {
    let reply: SearchReply = serde_json::from_slice(black_box(&answer)).unwrap();
    reply.hits(Metric::Cosine)
}

library_benchmark_group!(
    name = ours,
    benchmarks = [decoding, aligning, assessing, encoding, reading]
);
main!(library_benchmark_groups = ours);
