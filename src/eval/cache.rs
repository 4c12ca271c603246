//! What an engine saw in a photo, kept on disk by the photo's bytes and the engine's fingerprint, so that a second
//! evaluation is quick.

use std::fs;
use std::path::{Path, PathBuf};

use facedex_face::Face;
use serde::{Deserialize, Serialize};

use super::{EvalError, io_error};

/// All faces of a photo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhotoFaces {
    /// Upright width in pixels.
    pub width: u32,
    /// Upright height in pixels.
    pub height: u32,
    /// In (y, x) order.
    pub faces: Vec<Face>,
}

/// One folder an engine, one file a photo.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// A cache that keeps nothing.
    pub fn none() -> Self {
        Self { folder: None }
    }

    /// The cache of the engine with this fingerprint, under `base`.
    pub fn open(base: &Path, fingerprint: &str) -> Result<Self, EvalError> {
        let folder = base.join(&blake3::hash(fingerprint.as_bytes()).to_hex()[..16]);
        fs::create_dir_all(&folder).map_err(io_error(&folder))?;
        // For people who wonder what the folder is.
        let name = folder.join("engine.txt");
        fs::write(&name, fingerprint).map_err(io_error(&name))?;
        Ok(Self { folder: Some(folder) })
    }

    fn place(&self, hash: &str) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?.join(&hash[..2]);
        Some(folder.join(format!("{hash}.json")))
    }

    /// What is known of the photo. A file that does not parse counts as none.
    pub fn get(&self, hash: &str) -> Option<PhotoFaces> {
        serde_json::from_slice(&fs::read(self.place(hash)?).ok()?).ok()
    }

    /// Remembers a photo; two processes may do so at once.
    pub fn put(&self, hash: &str, found: &PhotoFaces) -> Result<(), EvalError> {
        let Some(place) = self.place(hash) else { return Ok(()) };
        let folder = place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(io_error(folder))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io_error(folder))?;
        serde_json::to_writer(&mut file, found)
            .map_err(std::io::Error::from)
            .map_err(io_error(&place))?;
        file.persist(&place).map_err(|error| io_error(&place)(error.error))?;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A square face without content.
    pub(in crate::eval) fn face_at(x: f32, y: f32, side: f32) -> facedex_face::Face {
        let quality = serde_json::json!({
            "size": side, "sharpness": 1.0, "brightness": 0.5, "contrast": 0.1, "yaw": 0.0, "roll": 0.0, "visible": 1.0,
        });
        serde_json::from_value(serde_json::json!({
            "box": {"x": x, "y": y, "width": side, "height": side},
            "landmarks": [[x, y], [x, y], [x, y], [x, y], [x, y]],
            "score": 0.9,
            "quality": quality,
            "embedding": [1.0, 0.0],
        }))
        .unwrap()
    }

    #[test]
    fn keeps_what_was_seen_by_engine_and_photo() {
        let folder = tempfile::tempdir().unwrap();
        let found = PhotoFaces {
            width: 3,
            height: 4,
            faces: vec![face_at(0.25, 1.5, 9.1)],
        };
        let cache = Cache::open(folder.path(), "a/1").unwrap();
        assert_eq!(cache.get("ab12"), None);
        cache.put("ab12", &found).unwrap();
        assert_eq!(Cache::open(folder.path(), "a/1").unwrap().get("ab12"), Some(found));
        assert_eq!(Cache::open(folder.path(), "a/2").unwrap().get("ab12"), None);
        assert_eq!(Cache::none().get("ab12"), None);
    }
}
