//! Photos' faces and the beginning of each one's embedding: `cargo run -p facedex-face --example embed PHOTO...`.
//! `facedex models fetch` must have run before.

use facedex_face::{FaceEngine, Photo};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut engine = FaceEngine::open(2)?;
    for path in std::env::args_os().skip(1) {
        for face in Photo::open(path.as_ref(), &mut engine)?.faces {
            println!("{:?} {:?} {:?}", path, face.bbox, &face.embedding[..4]);
        }
    }
    Ok(())
}
