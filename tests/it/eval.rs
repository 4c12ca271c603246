//! `facedex eval`: figures that can be told by hand, from real photos and what was made of them.

mod models;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::images::{encode, open};
use crate::harness::node::wait_until;
use crate::harness::proxy::{Fault, Kind, Proxy};
use crate::harness::{Space, photo, run};

/// Held by tests that count the collections that evaluations have left on the node.
static ALONE: Mutex<()> = Mutex::new(());

const PEOPLE: [(&str, &str); 6] = [
    ("Barack_Obama", "gallery/Barack_Obama/obama-1.jpg"),
    ("Christophe_Henner", "gallery/Christophe_Henner/christophe-henner.jpg"),
    ("Eileen_Collins", "gallery/Eileen_Collins/astronaut.png"),
    ("Filippo_Giunchedi", "gallery/Filippo_Giunchedi/filippo-giunchedi.jpg"),
    ("Guido_van_Rossum", "gallery/Guido_van_Rossum/guido-van-rossum.jpg"),
    ("Katherine_Maher", "gallery/Katherine_Maher/katherine-maher.jpg"),
];

/// Three photos of each of six people, under LFW's names: the real one, its mirror image, a darker and smaller one. Two
/// people have one each.
pub fn people(space: &Space) -> String {
    for (name, file) in PEOPLE {
        let original = open(file);
        let small = original.resize(400, 400, FilterType::Triangle).brighten(-30);
        let variants = [original.clone(), original.fliph(), small];
        for (at, picture) in variants.iter().enumerate() {
            put(space, name, at + 1, picture);
        }
    }
    put(space, "Joe_Biden", 1, &open("query/biden.jpg"));
    put(space, "One_Woman", 1, &open("gallery-unlabelled/one-woman.jpg"));
    space.path("people")
}

fn put(space: &Space, name: &str, number: usize, picture: &DynamicImage) {
    let picture = DynamicImage::ImageRgb8(picture.to_rgb8());
    space.put(
        &format!("people/{name}/{name}_{number:04}.jpg"),
        &encode(&picture, ImageFormat::Jpeg),
    );
}

/// LFW's View 1 of them: every two photos of each person, and as many pairs of neighbours in the alphabet.
fn pairs(space: &Space) -> String {
    let mut same = Vec::new();
    let mut different = Vec::new();
    for (at, (name, _)) in PEOPLE.iter().enumerate() {
        let next = PEOPLE[(at + 1) % PEOPLE.len()].0;
        for (a, b) in [(1, 2), (1, 3), (2, 3)] {
            same.push(format!("{name}\t{a}\t{b}"));
            different.push(format!("{name}\t{a}\t{next}\t{b}"));
        }
    }
    same.extend(different);
    space.put("pairs.txt", format!("18\n{}\n", same.join("\n")).as_bytes())
}

fn verification(space: &Space, pairs: &str, more: &[&str]) -> Value {
    let mut arguments = vec!["eval", "verification", "--images"];
    let images = space.path("people");
    arguments.extend([images.as_str(), "--pairs", pairs, "--json"]);
    arguments.extend(more);
    let mut command = space.command(&arguments);
    command.env("FACEDEX_EMBEDDINGS_DIR", space.path("embeddings"));
    crate::harness::run(command).expect(0).json()
}

#[test]
fn people_who_differ_are_told_apart_and_a_second_run_looks_at_nothing() {
    let space = Space::new();
    people(&space);
    let (plot, worst) = (space.path("roc.svg"), space.path("worst.png"));
    let pairs = pairs(&space);
    let report = verification(
        &space,
        &pairs,
        &["--plot", &plot, "--worst", &worst, "--worst-pairs", "2"],
    );
    assert_eq!(
        (
            &report["pairs"],
            &report["same"],
            &report["different"],
            &report["undetected"]
        ),
        (&json!(36), &json!(18), &json!(18), &json!(0))
    );
    assert_eq!((&report["accuracy"], &report["auc"]), (&json!(1.0), &json!(1.0)));
    assert_eq!((&report["accuracy_std"], &report["eer"]), (&json!(0.0), &json!(0.0)));
    assert_eq!(report["folds"], 10);
    for far in ["0.01", "0.001", "0.0001"] {
        assert_eq!(report["tar_at_far"][far], 1.0, "{far}");
    }
    // 18 pairs of two people cannot show a rate of one in a hundred, and it is said.
    assert_eq!(report["operating_points"][0]["resolved"], false);
    assert!(report["photo_ms"].as_f64().unwrap() > 0.0);
    let similarities: Vec<f64> = report["worst"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair["similarity"].as_f64().unwrap())
        .collect();
    assert_eq!(similarities.len(), 4);
    assert!(
        similarities[0] <= similarities[1] && similarities[2] >= similarities[3] && similarities[1] > similarities[2]
    );
    assert!(std::fs::read_to_string(plot).unwrap().contains("false-accept rate"));
    assert!(image::open(worst).unwrap().width() > 600);

    let again = verification(&space, &pairs, &[]);
    assert!(again["photo_ms"].is_null(), "photos were looked at again");
    assert_eq!(again["operating_points"], report["operating_points"]);
    // The cache knows photos by their bytes: one that changes is looked at.
    std::fs::copy(
        space.path("people/Joe_Biden/Joe_Biden_0001.jpg"),
        space.path("people/Barack_Obama/Barack_Obama_0002.jpg"),
    )
    .unwrap();
    let changed = verification(&space, &pairs, &[]);
    assert!(changed["accuracy"].as_f64().unwrap() < 1.0);
    assert!(changed["worst"][0]["a"].as_str().unwrap().contains("Barack_Obama"));
}

#[test]
fn a_pair_without_a_face_is_an_error_whatever_it_is() {
    let space = Space::new();
    people(&space);
    let wizard = std::fs::read(photo("formats/no-face.jpg")).unwrap();
    space.put("people/Wizard/Wizard_0001.jpg", &wizard);
    space.put("people/Wizard/Wizard_0002.jpg", b"no photo at all");
    let mut lines = vec!["a,b,same,fold".to_owned()];
    for (name, _) in PEOPLE {
        for (fold, other) in ["Barack_Obama", "Katherine_Maher"].iter().enumerate() {
            lines.push(format!("{name}/{name}_0001.jpg,{name}/{name}_0003.jpg,1,{fold}"));
            let other = if *other == name { "Eileen_Collins" } else { other };
            lines.push(format!("{name}/{name}_0001.jpg,{other}/{other}_0002.jpg,0,{fold}"));
        }
    }
    lines.push("Wizard/Wizard_0001.jpg,Wizard/Wizard_0002.jpg,1,0".to_owned());
    lines.push("Wizard/Wizard_0001.jpg,Barack_Obama/Barack_Obama_0001.jpg,0,1".to_owned());
    let file = space.put("pairs.csv", lines.join("\n").as_bytes());
    let report = verification(&space, &file, &[]);
    assert_eq!(
        (&report["pairs"], &report["undetected"], &report["folds"]),
        (&json!(26), &json!(2), &json!(2))
    );
    // One wrong of 13 in each fold.
    assert!((report["accuracy"].as_f64().unwrap() - 12.0 / 13.0).abs() < 1e-9);
    assert!((report["tar_at_far"]["0.01"].as_f64().unwrap() - 12.0 / 13.0).abs() < 1e-9);
    assert_eq!(report["undetected_photos"].as_array().unwrap().len(), 2);
}

#[test]
fn mistakes_are_named_before_anything_is_looked_at() {
    let space = Space::new();
    people(&space);
    let images = space.path("people");
    let pairs = pairs(&space);
    let missing = space.put("missing.txt", b"1\nAda\t1\t2\nAda\t1\tBob\t1\n");
    for (arguments, expected) in [
        (
            vec!["--images", &images, "--pairs", &missing],
            "Ada_0001.jpg: no such photo",
        ),
        (
            vec!["--images", &images, "--pairs", &pairs, "--plot", "roc.txt"],
            "roc.txt",
        ),
        (vec!["--images", &images, "--pairs", "nowhere.txt"], "nowhere.txt"),
    ] {
        let all: Vec<&str> = ["eval", "verification"].into_iter().chain(arguments).collect();
        let ran = space.run(&all).expect(2);
        assert!(ran.stderr.contains(expected), "{ran:?}");
    }
}

#[test]
fn identification_is_the_same_through_the_index_and_exactly() {
    let _alone = ALONE.lock().unwrap();
    let space = Space::new();
    let images = people(&space);
    let plot = space.path("det.png");
    let ran = space
        .run(&[
            "eval",
            "identification",
            "--images",
            &images,
            "--through",
            "int8_hnsw,exact",
            "--sizes",
            "3",
            "--plot",
            &plot,
            "--json",
        ])
        .expect(0);
    let report = ran.json();
    assert_eq!(
        (
            &report["gallery"],
            &report["people"],
            &report["mated"],
            &report["strangers"]
        ),
        (&json!(6), &json!(6), &json!(12), &json!(2))
    );
    assert_eq!((&report["rank1"], &report["rank5"]), (&json!(1.0), &json!(1.0)));
    assert_eq!(report["fnir_at_fpir"]["0.01"], 0.0);
    assert_eq!(report["undetected"], json!([0, 0]));
    let runs = report["runs"].as_array().unwrap();
    let shown: Vec<(&str, u64)> = runs
        .iter()
        .map(|run| (run["through"].as_str().unwrap(), run["gallery"].as_u64().unwrap()))
        .collect();
    assert_eq!(shown, [("int8_hnsw", 6), ("exact", 6), ("int8_hnsw", 3), ("exact", 3)]);
    for pair in runs.chunks(2) {
        let at = |run: &Value| run["threshold_at_fpir"]["0.01"].as_f64().unwrap();
        assert!((at(&pair[0]) - at(&pair[1])).abs() < 1e-3, "{pair:?}");
        assert_eq!(pair[0]["rank1"], pair[1]["rank1"]);
    }
    assert!(Path::new(&plot).exists());
    let (_, left) = space.elastic("GET", "/_cat/indices/facedex-faces-eval-*?format=json", None);
    assert_eq!(left, json!([]), "{left}");
}

#[test]
fn a_gallery_and_probes_may_be_folders_of_their_own() {
    let space = Space::new();
    people(&space);
    for (name, _) in PEOPLE {
        let bytes = std::fs::read(space.path(&format!("people/{name}/{name}_0002.jpg"))).unwrap();
        std::fs::remove_file(space.path(&format!("people/{name}/{name}_0002.jpg"))).unwrap();
        if name != "Eileen_Collins" {
            space.put(&format!("enrolled/{name}/1.jpg"), &bytes);
        }
    }
    let (gallery, probes) = (space.path("enrolled"), space.path("people"));
    let report = space
        .run(&[
            "eval",
            "identification",
            "--gallery",
            &gallery,
            "--probes",
            &probes,
            "--through",
            "exact",
            "--json",
        ])
        .expect(0)
        .json();
    assert_eq!(
        (&report["gallery"], &report["mated"], &report["strangers"]),
        (&json!(5), &json!(10), &json!(4))
    );
    assert_eq!(report["rank1"], 1.0);
}

#[test]
fn what_cannot_be_measured_is_said_before_the_work() {
    let space = Space::new();
    let images = people(&space);
    let identification =
        |more: &[&str]| space.run(&[&["eval", "identification", "--through", "exact", "--json"], more].concat());
    // The same files on both sides.
    let refused = identification(&["--gallery", &images, "--probes", &images]).expect(2);
    assert!(refused.stderr.contains("not enrolled as well"), "{refused:?}");
    // Everybody is enrolled.
    let known = space.path("known");
    for name in ["Barack_Obama", "Guido_van_Rossum"] {
        for at in 1..=3 {
            let bytes = std::fs::read(space.path(&format!("people/{name}/{name}_000{at}.jpg"))).unwrap();
            space.put(&format!("known/{name}/{at}.jpg"), &bytes);
            // One is a copy of an enrolled one.
            if at == 1 {
                space.put(&format!("probes/{name}/again.jpg"), &bytes);
            } else {
                space.put(&format!("probes/{name}/{at}.jpg"), &bytes);
                std::fs::remove_file(space.path(&format!("known/{name}/{at}.jpg"))).unwrap();
            }
        }
    }
    let ran = identification(&["--gallery", &known, "--probes", &space.path("probes")]).expect(0);
    assert!(ran.stderr.contains("no photo is of a stranger"), "{ran:?}");
    let report = ran.json();
    assert_eq!((&report["mated"], &report["enrolled_probes"]), (&json!(4), &json!(2)));
    assert_eq!((&report["rank1"], &report["fnir_at_fpir"]), (&json!(1.0), &json!({})));
    assert_eq!(
        (&report["calibrated"]["fpir"], &report["calibrated"]["fnir"]),
        (&Value::Null, &json!(0.0))
    );
    // One photo each, known before a model is loaded.
    let mut command = space.command(&["eval", "identification", "--images", &known]);
    command.env("FACEDEX_MODELS_DIR", space.path("no-models"));
    let refused = run(command).expect(2);
    assert!(refused.stderr.contains("nobody has two photos"), "{refused:?}");
    assert!(refused.stderr.contains("--gallery"), "{refused:?}");
}

#[test]
fn what_a_killed_evaluation_left_is_removed_by_the_next() {
    let _alone = ALONE.lock().unwrap();
    let space = Space::new();
    let images = people(&space);
    let all = [
        "eval",
        "identification",
        "--images",
        &images,
        "--through",
        "flat",
        "--json",
    ];
    let left = || {
        let (_, left) = space.elastic("GET", "/_cat/indices/facedex-faces-eval-*?format=json", None);
        left.as_array().unwrap().len()
    };
    for signal in ["-KILL", "-TERM"] {
        let proxy = Proxy::start(&space.url, |seen| {
            (seen.kind == Kind::Bulk).then_some(Fault::HangBefore)
        });
        let mut command = space.command(&all);
        let mut child = command.env("ELASTICSEARCH_URL", &proxy.url).spawn().unwrap();
        wait_until("it fills its collection", || proxy.count(Kind::Bulk) > 0);
        // Another one leaves it alone.
        space.run(&all).expect(0);
        assert_eq!(left(), 1);
        let mut kill = Command::new("kill");
        assert!(kill.args([signal, &child.id().to_string()]).status().unwrap().success());
        child.wait().unwrap();
        assert_eq!(left(), usize::from(signal == "-KILL"));
        space.run(&all).expect(0);
        assert_eq!(left(), 0);
    }
}

/// One photo a face, of 29 people in one photo of 1927 and of those above, and their mirror images.
fn crowd(space: &Space) -> String {
    people(space);
    let solvay = open("crowd/solvay-1927.png");
    let represent = space.run(&["represent", photo("crowd/solvay-1927.png").to_str().unwrap(), "--json"]);
    for (at, face) in represent.expect(0).json()["faces"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let side = |name: &str| face["box"][name].as_f64().unwrap();
        let (x, y, size) = (side("x"), side("y"), side("width").max(side("height")));
        let left = (x - 0.4 * size).max(0.0) as u32;
        let top = (y - 0.4 * size).max(0.0) as u32;
        let cut = solvay.crop_imm(left, top, (1.8 * size) as u32, (1.8 * size) as u32);
        let large = cut.resize(200, 200, FilterType::CatmullRom);
        put(space, &format!("Guest_{at:02}"), 1, &large);
        put(space, &format!("Guest_{at:02}"), 2, &large.fliph());
    }
    space.path("people")
}

#[test]
fn a_calibration_is_measured_tested_on_others_and_used() {
    let space = Space::new();
    let images = crowd(&space);
    let catalog = space.path("catalog.toml");
    let hold_out = space.put("hold-out.txt", b"2\nGuest_00 2\nGuest_01 2\nGuest_02\t1\tGuest_03\t2\n");
    let plot = space.path("fmr.svg");
    let calibrate = |more: &[&str]| {
        let mut arguments = vec![
            "eval",
            "calibrate",
            "--images",
            &images,
            "--hold-out",
            &hold_out,
            "--sizes",
            "20,9000",
        ];
        arguments.extend(["--catalog", &catalog, "--json", "--plot", &plot]);
        arguments.extend(more);
        let mut command = space.command(&arguments);
        command.env("FACEDEX_EMBEDDINGS_DIR", space.path("embeddings"));
        crate::harness::run(command).expect(0).json()
    };
    let dry = calibrate(&["--dry-run"]);
    assert!(!Path::new(&catalog).exists() && dry["catalog"].is_null());
    let report = calibrate(&[]);
    assert_eq!(report["table"], dry["table"]);
    assert_eq!((&report["held_out"], &report["people"]), (&json!(4), &json!(33)));
    // 25 guests of two photos, six people of three, two of one; no pair of one person, and none with who was held out.
    let (photos, own) = (25 * 2 + 6 * 3 + 2, 25 + 6 * 3);
    assert_eq!(report["photos"], photos);
    assert_eq!(report["comparisons"], photos * (photos - 1) / 2 - own);
    let table = report["table"].as_array().unwrap();
    let at = |row: &Value, name: &str| row[name].as_f64().unwrap();
    assert!(
        table
            .windows(2)
            .all(|rows| at(&rows[0], "similarity") < at(&rows[1], "similarity"))
    );
    assert!(
        table.iter().all(|row| row["extrapolated"] == true),
        "2,372 pairs show not even one in a hundred"
    );
    let check = report["check"].as_array().unwrap();
    assert_eq!(check.len(), 3, "9,000 faces are not there");
    assert!(check.iter().all(|row| row["searches"] == 8 && row["gallery"] == 20));

    // The table is what --max-fmr reads from now on.
    let photos = [photo("gallery/Barack_Obama/obama-1.jpg"), photo("query/obama-3.jpg")];
    let verify = |more: &[&str]| {
        let mut arguments = vec![
            "verify",
            photos[0].to_str().unwrap(),
            photos[1].to_str().unwrap(),
            "--json",
        ];
        arguments.extend(["--max-fmr", "0.01"].iter().chain(more));
        space.run(&arguments).expect(0).json()["threshold"]["similarity"]
            .as_f64()
            .unwrap()
    };
    assert!((verify(&["--catalog", &catalog]) - at(&table[0], "similarity")).abs() < 1e-9);
    assert_ne!(verify(&[]), verify(&["--catalog", &catalog]));
}
