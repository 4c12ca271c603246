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

#[test]
fn an_image_without_pixels_is_refused_and_not_a_panic() {
    let space = Space::new();
    let mut gif = animated_gif(&open("gallery/Filippo_Giunchedi/filippo-giunchedi.jpg").thumbnail(64, 64));
    // The canvas' width, in the logical screen descriptor.
    gif[6..8].copy_from_slice(&[0, 0]);
    space.put("all/zero.gif", &gif);
    space.put_photo("query/biden.jpg", "all/good.jpg");
    let summary = space.ingest(1, &[&space.path("all")]);
    assert_eq!((&summary["failed"], &summary["indexed"]), (&json!(1), &json!(1)));
    let search = space.run(&["represent", &space.path("all/zero.gif")]).expect(2);
    assert!(!search.stderr.contains("panicked"), "{search:?}");
}

#[test]
fn what_is_no_file_is_passed_over() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "all/good.jpg");
    let made = std::process::Command::new("mkfifo")
        .arg(space.path("all/pipe.jpg"))
        .status()
        .unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink(space.path("all"), space.path("all/loop")).unwrap();
    let summary = space.ingest(0, &[&space.path("all")]);
    assert_eq!((&summary["indexed"], &summary["skipped"]), (&json!(1), &json!(1)));
}

#[test]
fn names_that_are_no_text_are_kept_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let space = Space::new();
    for (folder, source) in [(b"all/P\xff", "query/biden.jpg"), (b"all/P\xfe", "query/obama-3.jpg")] {
        let folder = space.folder.path().join(OsStr::from_bytes(folder));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(photo(source), folder.join("1.jpg")).unwrap();
        std::fs::write(folder.join(OsStr::from_bytes(b"broken\xff.jpg")), b"no photo").unwrap();
    }
    let summary = space.ingest(1, &[&space.path("all"), "--person-from-dir"]);
    assert_eq!((&summary["indexed"], &summary["failed"]), (&json!(2), &json!(2)));
    let people: std::collections::BTreeSet<String> = space
        .documents()
        .values()
        .map(|document| document["person"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(people.into_iter().collect::<Vec<_>>(), ["P%FE", "P%FF"]);
    assert!(
        space.dead_letters()[0]["uri"]
            .as_str()
            .unwrap()
            .contains("broken%FF.jpg")
    );
}

#[test]
fn a_folder_given_by_dots_still_names_its_people() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "Ada/1.jpg");
    let mut command = space.command(&["ingest", "..", "../../Ada", "--person-from-dir", "--json"]);
    let inside = space.folder.path().join("Ada/inside");
    std::fs::create_dir_all(&inside).unwrap();
    command.current_dir(inside);
    let summary = crate::harness::run(command).expect(0).json();
    assert_eq!(summary["images"], 1);
    assert_eq!(space.documents().into_values().next().unwrap()["person"]["id"], "Ada");
}

#[test]
fn formats_that_are_not_read_are_named() {
    let space = Space::new();
    space.put("all/phone.HEIC", b"\0\0\0\x18ftypheic");
    let summary = space.ingest(1, &[&space.path("all")]);
    assert_eq!(summary["failed"], 1);
}

#[test]
fn a_closed_standard_error_does_not_stop_the_work() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "all/good.jpg");
    space.put("all/bad.jpg", b"no photo");
    let mut command = space.command(&["ingest", &space.path("all"), "--json"]);
    command.stderr(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let summary = crate::harness::run(command).expect(1).json();
    assert_eq!((&summary["indexed"], &summary["failed"]), (&json!(1), &json!(1)));
}

#[test]
fn a_dead_letter_file_that_is_a_photo_is_left_alone() {
    let space = Space::new();
    let file = space.put_photo("query/biden.jpg", "1.jpg");
    let before = std::fs::read(&file).unwrap();
    let refused = space.run(&["ingest", &file, "--dead-letter", &file]).expect(2);
    assert!(refused.stderr.contains("no dead-letter file"), "{refused:?}");
    let nowhere = space
        .run(&["ingest", &file, "--dead-letter", "no/such/folder/x.ndjson"])
        .expect(2);
    assert!(nowhere.stderr.contains("no/such/folder"), "{nowhere:?}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}
