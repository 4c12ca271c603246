//! Photos that cannot be used, and those that only look so.

use image::ImageFormat;
use serde_json::json;

use crate::harness::images::{animated_gif, encode, open, png_header, turned_jpeg};
use crate::harness::{Space, photo};

#[test]
fn what_cannot_be_used_is_named_and_the_rest_goes_on() {
    let space = Space::new();
    let jpeg = std::fs::read(photo("query/biden.jpg")).unwrap();
    let png = encode(&open("gallery/Eileen_Collins/astronaut.png"), ImageFormat::Png);
    space.put("all/good.jpg", &jpeg);
    space.put("all/empty.jpg", b"");
    space.put("all/truncated.jpg", &jpeg[..jpeg.len() / 2]);
    space.put("all/truncated.png", &png[..png.len() / 2]);
    space.put("all/text.jpg", b"this is a letter, not a photo");
    space.put("all/bomb.png", &png_header(30_000, 30_000));
    space.put("all/notes.txt", b"no image, and not called one");
    std::os::unix::fs::symlink("/nowhere/at/all", space.path("all/dangling.jpg")).unwrap();
    let summary = space.ingest(1, &[&space.path("all")]);
    assert_eq!(
        [
            &summary["images"],
            &summary["indexed"],
            &summary["failed"],
            &summary["skipped"]
        ],
        [&json!(7), &json!(1), &json!(6), &json!(1)]
    );
    let letters = space.dead_letters();
    assert_eq!(letters.len(), 6);
    for (name, reason) in [
        ("empty.jpg", "empty"),
        ("truncated.jpg", "truncated JPEG"),
        ("truncated.png", "PNG"),
        ("text.jpg", "not an image"),
        ("bomb.png", "30000 x 30000 pixels"),
        ("dangling.jpg", "No such file"),
    ] {
        let letter = letters
            .iter()
            .find(|letter| letter["uri"].as_str().unwrap().ends_with(name))
            .unwrap_or_else(|| panic!("{name} is not in the dead-letter file: {letters:?}"));
        assert!(letter["reason"].as_str().unwrap().contains(reason), "{letter}");
        assert_eq!(letter["run"], summary["run"]);
    }
}

#[test]
fn every_encoding_of_a_face_is_the_same_face() {
    let space = Space::new();
    let reference = space.put_photo("gallery/Filippo_Giunchedi/filippo-giunchedi.jpg", "reference.jpg");
    let picture = open("gallery/Filippo_Giunchedi/filippo-giunchedi.jpg");
    let mut files = vec![
        ("animated.gif".to_owned(), animated_gif(&picture)),
        ("photo.bmp".to_owned(), encode(&picture, ImageFormat::Bmp)),
        ("photo.tiff".to_owned(), encode(&picture, ImageFormat::Tiff)),
        ("photo.webp".to_owned(), encode(&picture, ImageFormat::WebP)),
        // Content decides, not the name.
        ("png-called.jpg".to_owned(), encode(&picture, ImageFormat::Png)),
        (
            "16-bit.png".to_owned(),
            encode(&image::DynamicImage::ImageRgb16(picture.to_rgb16()), ImageFormat::Png),
        ),
        (
            "grey-alpha.png".to_owned(),
            encode(
                &image::DynamicImage::ImageLumaA8(picture.to_luma_alpha8()),
                ImageFormat::Png,
            ),
        ),
    ];
    for orientation in 1..=8 {
        files.push((format!("turned-{orientation}.jpg"), turned_jpeg(&picture, orientation)));
    }
    for name in [
        "filippo-giunchedi.png",
        "filippo-giunchedi-gray.jpg",
        "filippo-giunchedi-cmyk.jpg",
    ] {
        files.push((
            name.to_owned(),
            std::fs::read(photo(&format!("formats/{name}"))).unwrap(),
        ));
    }
    for (name, bytes) in files {
        let other = space.put(&name, &bytes);
        let answer = space.run(&["verify", &reference, &other, "--json"]).expect(0).json();
        let similarity = answer["similarity"].as_f64().unwrap();
        let least = if name.contains("gr") { 0.85 } else { 0.95 };
        assert!(similarity > least, "{name}: similarity {similarity}");
    }
}

#[test]
fn a_photo_without_a_face_is_counted_and_no_failure() {
    let space = Space::new();
    let file = photo("formats/no-face.jpg");
    let summary = space.ingest(0, &[file.to_str().unwrap()]);
    assert_eq!(
        [
            &summary["images"],
            &summary["no_face"],
            &summary["faces"],
            &summary["failed"]
        ],
        [&json!(1), &json!(1), &json!(0), &json!(0)]
    );
    let search = space.run(&["search", file.to_str().unwrap()]).expect(2);
    assert!(search.stderr.contains("no face found"), "{search:?}");
}

#[test]
fn limits_can_be_moved() {
    let space = Space::new();
    let file = photo("query/biden.jpg");
    let file = file.to_str().unwrap();
    let summary = space.ingest(1, &[file, "--max-image-pixels", "1000"]);
    assert_eq!(summary["failed"], 1);
    let summary = space.ingest(1, &[file, "--max-image-bytes", "1000"]);
    assert_eq!(summary["failed"], 1);
    let letters = space.dead_letters();
    assert!(letters[0]["reason"].as_str().unwrap().contains("--max-image-pixels"));
    assert!(letters[1]["reason"].as_str().unwrap().contains("--max-image-bytes"));
    space.ingest(0, &[file]);
}

#[test]
fn nothing_to_do_is_an_error_with_its_reason() {
    let space = Space::new();
    let missing = space.run(&["ingest", "no/such/folder"]).expect(2);
    assert!(
        missing.stderr.contains("no such file or folder") && missing.stderr.contains("no/such/folder"),
        "{missing:?}"
    );
    space.put("texts/a.txt", b"text");
    let nothing = space.run(&["ingest", &space.path("texts")]).expect(2);
    assert!(nothing.stderr.contains("no photos under"), "{nothing:?}");
}

#[test]
fn a_full_disk_under_the_dead_letter_file_stops_the_run() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "all/a.jpg");
    space.put("all/b.jpg", b"no photo");
    // Writing to this device fails as a full disk does.
    let failed = space
        .run(&[
            "ingest",
            &space.path("all"),
            "--workers",
            "1",
            "--dead-letter",
            "/dev/full",
        ])
        .expect(2);
    assert!(
        failed.stderr.contains("/dev/full") && failed.stderr.contains("No space left"),
        "{failed:?}"
    );
    // The photo is named all the same, and nothing keeps a second run from finishing the work.
    assert!(failed.stderr.contains("b.jpg"), "{failed:?}");
    let summary = space.ingest(1, &[&space.path("all")]);
    assert_eq!(
        (
            summary["indexed"].as_u64().unwrap() + summary["existing"].as_u64().unwrap(),
            space.count()
        ),
        (1, 1)
    );
}
