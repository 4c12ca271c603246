//! Arbitrary bytes through the decoder and, where they are a picture, through the detector. CONTRIBUTING.md has the
//! command.

#![no_main]

use std::sync::{LazyLock, Mutex};

use facedex_face::detect::Detector;
use facedex_face::image::{Limits, decode};
use facedex_face::models::catalog::{Catalog, Provider};
use facedex_face::models::runtime::Runtime;
use libfuzzer_sys::fuzz_target;

/// Small, so that a lying header costs no time.
const LIMITS: Limits = Limits {
    max_bytes: 1 << 20,
    max_pixels: 300 * 300,
};

static DETECTOR: LazyLock<Mutex<Detector>> = LazyLock::new(|| {
    let catalog = Catalog::builtin().expect("the catalog parses");
    let runtime = Runtime::open(&catalog, None, Provider::Cpu).expect("`facedex models fetch` was run");
    let model = catalog.default_detector();
    Mutex::new(Detector::load(&runtime, model, 1).expect("the detector loads"))
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(photo) = decode(bytes, &LIMITS) {
        let mut detector = DETECTOR.lock().expect("no earlier input has panicked");
        detector.detect(&photo).expect("every picture can be looked at");
    }
});
