//! A photo's faces and the beginning of each one's embedding: `cargo run -p facedex-face --example embed PHOTO`. `facedex models fetch` must have
//! run before.

use facedex_face::image::{Limits, decode, read};
use facedex_face::models::catalog::{Catalog, Provider};
use facedex_face::models::runtime::Runtime;
use facedex_face::{FaceEngine, Recipe};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catalog = Catalog::builtin()?;
    let runtime = Runtime::open(&catalog, None, Provider::Cpu)?;
    let mut engine = FaceEngine::load(&runtime, &Recipe::default_of(&catalog)?, 2)?;
    let limits = Limits::default();
    for path in std::env::args_os().skip(1) {
        let photo = decode(&read(path.as_ref(), &limits)?, &limits)?;
        for face in engine.faces(&photo)? {
            println!("{:?} {:?} {:?}", path, face.bbox, &face.embedding[..4]);
        }
    }
    Ok(())
}
