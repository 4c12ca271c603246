//! Other models than the default ones.

use super::*;

#[test]
fn every_model_tells_people_apart_and_a_collection_holds_its_vectors() {
    let space = Space::new();
    let images = people(&space);
    let pairs = pairs(&space);
    space
        .run(&["models", "fetch", "mobilefacenet-192", "dlib-resnet-v1", "mtcnn"])
        .expect(0);
    let comparison = space
        .run(&[
            "models",
            "compare",
            "--images",
            &images,
            "--pairs",
            &pairs,
            "--precisions",
            "fast,balanced,best",
            "--json",
        ])
        .expect(0)
        .json();
    let rows = comparison["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4 * 3);
    for row in rows {
        assert_eq!(row["undetected"], 0, "{row}");
        assert!(row["auc"].as_f64().unwrap() > 0.99, "{row}");
    }
    // The ensemble's similarity is the mean of its members'.
    let worst = |embedder: &str| {
        let pairs = space.put(
            "two.csv",
            b"Barack_Obama/Barack_Obama_0001.jpg,Barack_Obama/Barack_Obama_0003.jpg,1\nBarack_Obama/Barack_Obama_0001.jpg,Joe_Biden/Joe_Biden_0001.jpg,0\n",
        );
        let report = verification(&space, &pairs, &["--embedder", embedder]);
        [0, 1].map(|at| report["worst"][at]["similarity"].as_f64().unwrap())
    };
    let [sface, mobile] = [worst("sface-2021dec"), worst("mobilefacenet-192")];
    for (at, both) in worst("sface-2021dec+mobilefacenet-192").into_iter().enumerate() {
        assert!((both - (sface[at] + mobile[at]) / 2.0).abs() < 1e-5, "{both}");
    }
    // Euclidean vectors go through Elasticsearch as well, and other spaces are kept out.
    let obama = photo("gallery/Barack_Obama/obama-2.jpg");
    let gallery = photo("gallery/Barack_Obama/obama-1.jpg");
    space.ingest(0, &[gallery.to_str().unwrap(), "--embedder", "dlib-resnet-v1"]);
    let search = |more: &[&str], code| {
        let mut arguments = vec!["search", obama.to_str().unwrap(), "--json", "--min-similarity", "0.8"];
        arguments.extend(more);
        space.run(&arguments).expect(code)
    };
    let dlib = ["--embedder", "dlib-resnet-v1"];
    space.count();
    let found = search(&dlib, 0).json()["faces"][0]["hits"][0]["similarity"]
        .as_f64()
        .unwrap();
    let exact = search(&["--embedder", "dlib-resnet-v1", "--exact"], 0).json();
    assert!((exact["faces"][0]["hits"][0]["similarity"].as_f64().unwrap() - found).abs() < 1e-3);
    let pair = space.run(&[
        "verify",
        gallery.to_str().unwrap(),
        obama.to_str().unwrap(),
        "--embedder",
        "dlib-resnet-v1",
        "--min-similarity",
        "0.8",
        "--json",
    ]);
    assert!((pair.expect(0).json()["similarity"].as_f64().unwrap() - found).abs() < 1e-3);
    let refused = search(&[], 2);
    assert!(refused.stderr.contains("dlib-resnet-v1@dlib-150"), "{refused:?}");
}

#[test]
fn quality_is_held_against_errors_also_on_smaller_photos() {
    let space = Space::new();
    let images = people(&space);
    let embeddings = space.path("embeddings");
    let quality = |more: &[&str], code| {
        let mut arguments = vec![
            "eval",
            "quality",
            "--images",
            &images,
            "--embeddings-dir",
            &embeddings,
            "--json",
        ];
        arguments.extend(more);
        space.run(&arguments).expect(code)
    };
    // Six people have three pairs each: too few, and it is said; so is a factor that is none.
    assert!(quality(&[], 2).stderr.contains("at least 100 are needed"));
    assert!(quality(&["--shrink", "2"], 2).stderr.contains("up to 1"));
    for person in 0..30 {
        for (at, file) in ["obama-1.jpg", "obama-2.jpg"].iter().cycle().take(4).enumerate() {
            let original = open(&format!("gallery/Barack_Obama/{file}")).resize(300, 300, FilterType::Triangle);
            let lighter = original.brighten(at as i32 + person % 10);
            put(&space, &format!("Person_{person}"), at + 1, &lighter);
        }
    }
    let whole = quality(&[], 0).json();
    let small = quality(&["--shrink", "1,0.3"], 0).json();
    assert_eq!((&whole["pairs"], &small["pairs"]), (&json!(198), &json!(198)));
    let least = |report: &Value| report["limits"]["size"][0].as_f64().unwrap();
    assert!((least(&small) / least(&whole) - 0.3).abs() < 0.06, "{whole} {small}");
}

#[test]
fn another_detector_finds_the_same_people() {
    let space = Space::new();
    let images = people(&space);
    let pairs = pairs(&space);
    space.run(&["models", "fetch", "mtcnn"]).expect(0);
    let report = verification(&space, &pairs, &["--detector", "mtcnn"]);
    assert!(report["engine"].as_str().unwrap().starts_with("mtcnn:"));
    assert_eq!((&report["undetected"], &report["auc"]), (&json!(0), &json!(1.0)));
    let solvay = photo("crowd/solvay-1927.png");
    let seen = space
        .run(&["represent", solvay.to_str().unwrap(), "--detector", "mtcnn", "--json"])
        .expect(0)
        .json();
    let faces = seen["faces"].as_array().unwrap().len();
    assert!((27..=31).contains(&faces), "{faces} of 29");
    let _ = images;
}

#[test]
fn a_third_party_s_model_is_an_entry_of_the_user_s_catalog() {
    let space = Space::new();
    people(&space);
    let pairs = pairs(&space);
    // MobileFaceNet under another name stands for somebody else's ArcFace-style model: 112 x 112, five points.
    space.run(&["models", "fetch", "mobilefacenet-192"]).expect(0);
    let models = facedex_face::models::catalog::models_dir(None).unwrap();
    let folder = space.path("models");
    std::fs::create_dir(&folder).unwrap();
    for file in ["yunet_2023mar.onnx", "mtcnn_onet.onnx"] {
        std::fs::copy(models.join(file), Path::new(&folder).join(file)).unwrap();
    }
    std::fs::copy(
        models.join("mobilefacenet_192.onnx"),
        Path::new(&folder).join("theirs.onnx"),
    )
    .unwrap();
    let theirs = std::fs::read(Path::new(&folder).join("theirs.onnx")).unwrap();
    let digest: String = Sha256::digest(theirs)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let entry = format!(
        r#"[[models]]
name = "theirs-r50"
role = "embedder"
version = "r50"
file = "theirs.onnx"
sha256 = ["{}"]
licence = "LicenseRef-non-commercial-research"
commercial_use = false
origin = "a third party"
outputs = ["embedding"]
notes = "for research only"
input = {{ tensor = "input", layout = "nchw", colour = "rgb", mean = 127.5, std = 128.0, batch = true, width = 112, height = 112 }}
crop = {{ size = 112, template = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]] }}
embedder = {{ space = "theirs-r50@arcface-112", dims = 192, metric = "cosine" }}
"#,
        digest
    );
    let catalog = Path::new(&folder).join("catalog.toml");
    std::fs::write(&catalog, &entry).unwrap();
    let theirs = ["--models-dir", &folder, "--embedder", "theirs-r50"];
    let report = verification(&space, &pairs, &theirs);
    assert_eq!((&report["auc"], &report["undetected"]), (&json!(1.0), &json!(0)));
    let obama = photo("gallery/Barack_Obama/obama-1.jpg");
    let verify = |more: &[&str], code| {
        let path = obama.to_str().unwrap();
        let all: Vec<&str> = ["verify", path, path]
            .iter()
            .chain(&theirs)
            .chain(more)
            .copied()
            .collect();
        space.run(&all).expect(code)
    };
    let loud = verify(&["--min-similarity", "0.5"], 0);
    assert!(
        loud.stderr.contains("WARNING: theirs-r50") && loud.stderr.contains("does NOT allow commercial use"),
        "{loud:?}"
    );
    let unknown = verify(&[], 2);
    assert!(unknown.stderr.contains("facedex eval calibrate"), "{unknown:?}");
    std::fs::write(
        &catalog,
        entry.replace("commercial_use = false", "comercial_use = false"),
    )
    .unwrap();
    let mistaken = verify(&[], 2);
    assert!(
        mistaken.stderr.contains("catalog.toml") && mistaken.stderr.contains("comercial_use"),
        "{mistaken:?}"
    );
}
