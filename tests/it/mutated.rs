//! Damaged photos, thousands of them and each in a way of its own: none of them stops a run, hangs it, or goes missing.
//! 150 are tried, 2,000 with `FACEDEX_TEST_FULL=1`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::panic::catch_unwind;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::harness::images::{animated_gif, encode, open, turned_jpeg};
use crate::harness::{Space, full};
use facedex_elastic::schema::document::image_hash;
use facedex_face::image::{Limits, decode};

/// No file may take longer: a hang, not a measurement.
const HANG: Duration = Duration::from_secs(10);
/// Enough for the real photos; a header that lies above it is refused.
const MAX_PIXELS: u64 = 4_000_000;
/// What the process may take at most, with the models and a photo of [`MAX_PIXELS`] a worker.
const MAX_KILOBYTES: u64 = 900_000;

/// Sound files of every format that is read.
fn originals() -> Vec<(&'static str, Vec<u8>)> {
    let picture = open("query/biden.jpg").resize(200, 200, image::imageops::FilterType::Triangle);
    let deep = DynamicImage::ImageRgb16(picture.to_rgb16());
    let clear = DynamicImage::ImageRgba8(picture.to_rgba8());
    vec![
        ("jpg", encode(&picture, ImageFormat::Jpeg)),
        ("turned.jpg", turned_jpeg(&picture, 6)),
        ("grey.jpg", encode(&picture.grayscale(), ImageFormat::Jpeg)),
        ("png", encode(&picture, ImageFormat::Png)),
        ("deep.png", encode(&deep, ImageFormat::Png)),
        ("webp", encode(&picture, ImageFormat::WebP)),
        ("clear.webp", encode(&clear, ImageFormat::WebP)),
        ("gif", animated_gif(&picture)),
        ("bmp", encode(&picture, ImageFormat::Bmp)),
        ("tiff", encode(&picture, ImageFormat::Tiff)),
        ("deep.tiff", encode(&deep, ImageFormat::Tiff)),
    ]
}

/// One of the ways in which files are damaged.
fn mutate(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=3) {
        let length = bytes.len().max(1);
        bytes.resize(length, 0);
        let at = random.random_range(0..length);
        let run = random.random_range(1..=512.min(length));
        let end = (at + run).min(length);
        match random.random_range(0..8) {
            0 => {
                for _ in 0..random.random_range(1..=16) {
                    let at = random.random_range(0..length);
                    bytes[at] ^= 1 << random.random_range(0..8);
                }
            }
            1 => bytes.truncate(at),
            2 => {
                let other = random.random_range(0..=length - run);
                let chunk = bytes[at..end].to_vec();
                bytes.copy_within(other..other + chunk.len(), at);
                bytes[other..other + chunk.len()].copy_from_slice(&chunk);
            }
            3 => {
                let head = random.random_range(0..64.min(length));
                bytes[head] = random.random();
            }
            4 => {
                let side = [0, 1, 7, 255, 4000, 65_535, 0x7FFF_FFFF, u32::MAX][random.random_range(0..8)];
                lie(&mut bytes, side, random.random_range(0..2));
            }
            5 => bytes[at..end].fill(if random.random() { 0xFF } else { 0 }),
            6 => drop(bytes.drain(at..end)),
            _ => {
                let chunk = bytes[at..end].to_vec();
                bytes.splice(at..at, chunk);
            }
        }
    }
    bytes
}

/// Writes another width (0) or height (1) into the header.
fn lie(bytes: &mut [u8], side: u32, second: usize) {
    let short = u16::try_from(side).unwrap_or(u16::MAX);
    let (at, value) = match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => (16 + 4 * second, side.to_be_bytes().to_vec()),
        Ok(ImageFormat::Gif) => (6 + 2 * second, short.to_le_bytes().to_vec()),
        Ok(ImageFormat::Bmp) => (18 + 4 * second, side.to_le_bytes().to_vec()),
        // VP8L: 14 bits each after the signature byte.
        Ok(ImageFormat::WebP) => (21 + second, short.to_le_bytes().to_vec()),
        Ok(ImageFormat::Jpeg) => match bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]) {
            Some(frame) => (frame + 5 + 2 * second, short.to_be_bytes().to_vec()),
            None => return,
        },
        // An entry of the directory is tag, type, count, value; 256 and 257 are the sides.
        Ok(ImageFormat::Tiff) => {
            let tag = [0, 1 + second as u8];
            match bytes.windows(2).rposition(|pair| [pair[0], pair[1]] == tag) {
                Some(entry) => (entry + 8, side.to_le_bytes().to_vec()),
                None => return,
            }
        }
        _ => return,
    };
    let Some(place) = bytes.get_mut(at..at + value.len()) else {
        return;
    };
    place.copy_from_slice(&value);
    if image::guess_format(bytes).is_ok_and(|format| format == ImageFormat::Png) && bytes.len() > 33 {
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    }
}

/// Decodes in a thread of its own, so that a hang is noticed.
fn decode_in_time(name: &str, bytes: Vec<u8>) {
    let (done, waiting) = mpsc::channel();
    std::thread::spawn(move || {
        let limits = Limits {
            max_pixels: MAX_PIXELS,
            ..Limits::default()
        };
        let ended = catch_unwind(|| drop(decode(&bytes, &limits)));
        done.send(ended.is_ok())
    });
    match waiting.recv_timeout(HANG) {
        Ok(true) => {}
        Ok(false) => panic!("{name}: the decoder panicked"),
        Err(_) => panic!("{name}: the decoder hangs"),
    }
}

#[test]
fn a_picture_without_pixels_is_refused() {
    for (kind, bytes) in originals() {
        for sides in [&[0][..], &[1], &[0, 1]] {
            let mut flat = bytes.clone();
            sides.iter().for_each(|&side| lie(&mut flat, 0, side));
            assert_ne!(flat, bytes, "{kind}");
            // WebP counts from one: it cannot say so.
            if let Ok(picture) = decode(&flat, &Limits::default()) {
                assert!(picture.width() > 0 && picture.height() > 0, "{kind}, {sides:?}");
            }
        }
    }
}

#[test]
fn damaged_photos_neither_stop_a_run_nor_go_missing() {
    let files: usize = if full() { 2000 } else { 150 };
    let space = Space::new();
    let originals = originals();
    let mut random = StdRng::seed_from_u64(2000);
    let mut hashes = Vec::new();
    for number in 0..files {
        let (kind, bytes) = &originals[number % originals.len()];
        let name = format!("all/{number:04}.{kind}");
        let bytes = mutate(bytes, &mut random);
        space.put(&name, &bytes);
        hashes.push((name.clone(), image_hash(&bytes)));
        decode_in_time(&name, bytes);
    }
    let pixels = MAX_PIXELS.to_string();
    let all = space.path("all");
    let mut ingest = space
        .command(&["ingest", "--json", &all, "--max-image-pixels", &pixels])
        .stderr(std::process::Stdio::from(
            std::fs::File::create(space.path("stderr")).unwrap(),
        ))
        .spawn()
        .unwrap();
    // A line a second tells how far it is.
    let (mut images, mut since, mut most_kilobytes) = (0, Instant::now(), 0);
    let mut last = Value::Null;
    for line in BufReader::new(ingest.stdout.take().unwrap()).lines() {
        last = serde_json::from_str(&line.unwrap()).unwrap();
        if last["images"].as_u64().unwrap() > images {
            (images, since) = (last["images"].as_u64().unwrap(), Instant::now());
        }
        most_kilobytes = most_kilobytes.max(peak_kilobytes(ingest.id()).unwrap_or(0));
        if since.elapsed() > 3 * HANG {
            ingest.kill().unwrap();
            panic!("hangs after {images} photos");
        }
    }
    let status = ingest.wait().unwrap();
    let stderr = std::fs::read_to_string(space.path("stderr")).unwrap();
    // A line a damaged photo is too much to print when something is wrong.
    let unusual: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.starts_with("failed: /") || line.contains("panicked"))
        .collect();
    assert_eq!(status.code(), Some(1), "{unusual:?}");
    assert_eq!(unusual, [] as [&str; 0], "a line a photo, whatever is in it");
    assert!(most_kilobytes < MAX_KILOBYTES, "{most_kilobytes} kB");
    // Each is a photo with faces, one without, or a named failure.
    let letters = space.dead_letters();
    let failed: BTreeSet<&str> = letters.iter().map(|letter| letter["uri"].as_str().unwrap()).collect();
    let stored: BTreeSet<String> = space
        .documents()
        .keys()
        .map(|id| id.split('-').next().unwrap().to_owned())
        .collect();
    let (mut with_faces, mut without) = (0, 0);
    for (name, hash) in &hashes {
        match (failed.iter().any(|uri| uri.ends_with(name)), stored.contains(hash)) {
            (true, false) => {}
            (false, true) => with_faces += 1,
            (false, false) => without += 1,
            (true, true) => panic!("{name} both failed and is stored"),
        }
    }
    println!(
        "{files} damaged photos: {} failed, {with_faces} with faces, {without} without; peak {most_kilobytes} kB",
        failed.len()
    );
    assert_eq!(letters.len(), failed.len(), "a failure is named once");
    let figures = ["images", "failed", "no_face"].map(|name| last[name].as_u64().unwrap() as usize);
    assert_eq!(figures, [files, failed.len(), without], "{last}");
    for letter in &letters {
        assert!(!letter["reason"].as_str().unwrap().is_empty(), "{letter}");
    }
}

/// The most memory that a process has had, as the kernel counts it.
fn peak_kilobytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
