//! deepface's stores of faces (`ds_model_*.pkl`): a pickled list of dictionaries, one a face, as `DeepFace.find` writes it.
//! No code of a pickle is run. The whole file is read into memory, as deepface does.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use facedex_base::Rect;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::schema::document::face_id;
use crate::transfer::import::Record;

/// A face of a store. Photos without a face have an entry without an embedding.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    /// The photo's path.
    identity: String,
    /// A hash of the photo's file.
    #[serde(default)]
    hash: Option<String>,
    embedding: Option<Vec<f64>>,
    #[serde(default)]
    target_x: Option<f32>,
    #[serde(default)]
    target_y: Option<f32>,
    #[serde(default)]
    target_w: Option<f32>,
    #[serde(default)]
    target_h: Option<f32>,
}

/// A store that was read.
#[derive(Debug, Clone)]
pub struct Store {
    entries: Vec<Entry>,
}

/// What the faces' documents have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// The embedding space that the user states.
    pub space: String,
    /// When they are imported, RFC 3339.
    pub timestamp: String,
    /// The import's UUID.
    pub run: String,
    /// The machine's name.
    pub host: String,
    /// Name the person in a photo after its folder.
    pub person_from_dir: bool,
}

impl Store {
    /// Reads a pickle.
    ///
    /// # Errors
    ///
    /// The reason: no pickle, or not of DeepFace's form.
    pub fn read(file: impl Read) -> Result<Self, String> {
        let entries = serde_pickle::from_reader(file, serde_pickle::DeOptions::new()).map_err(|error| {
            format!("it is no store of deepface, a list of dictionaries with identity, hash, embedding, target_x, ...: {error}")
        })?;
        Ok(Self { entries })
    }

    /// Numbers in a vector, by the first of them.
    pub fn dims(&self) -> Option<usize> {
        self.entries
            .iter()
            .find_map(|entry| entry.embedding.as_ref().map(Vec::len))
    }

    /// Photos in which deepface found no face.
    pub fn without_face(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.embedding.is_none()).count() as u64
    }

    /// The faces as documents. The same store gives the same ids: they are made of the photo's path and hash, and the
    /// face's place among the photo's faces.
    pub fn records<'c>(self, common: &'c Common) -> impl Iterator<Item = Record> + use<'c> {
        let entries: Vec<Entry> = self
            .entries
            .into_iter()
            .filter(|entry| entry.embedding.is_some())
            .collect();
        let mut counts: HashMap<String, (u32, f32)> = HashMap::new();
        for entry in &entries {
            let (count, largest) = counts.entry(entry.photo()).or_default();
            *count += 1;
            *largest = largest.max(entry.area());
        }
        let mut ordinals: HashMap<String, usize> = HashMap::new();
        entries.into_iter().map(move |entry| {
            let hash = entry.photo();
            let ordinal = ordinals.entry(hash.clone()).or_default();
            let id = face_id(&hash, *ordinal);
            *ordinal += 1;
            let (faces, largest) = counts.get(&hash).copied().unwrap_or_default();
            // The largest face of a photo is the one that its folder names.
            let named = common.person_from_dir && entry.area() >= largest;
            Record {
                source: entry.document(common, &hash, faces, named),
                id,
            }
        })
    }
}

impl Entry {
    /// What identifies the photo, in the form that facedex gives it.
    fn photo(&self) -> String {
        let name = format!("deepface\0{}\0{}", self.identity, self.hash.as_deref().unwrap_or(""));
        blake3::hash(name.as_bytes()).to_hex()[..32].to_owned()
    }

    fn area(&self) -> f32 {
        self.target_w.unwrap_or(0.0) * self.target_h.unwrap_or(0.0)
    }

    fn document(&self, common: &Common, hash: &str, faces: u32, named: bool) -> Value {
        let bbox = Rect {
            x: self.target_x.unwrap_or(0.0),
            y: self.target_y.unwrap_or(0.0),
            width: self.target_w.unwrap_or(0.0),
            height: self.target_h.unwrap_or(0.0),
        };
        let mut document = json!({
            "@timestamp": common.timestamp,
            "face": {"embedding": self.unit_vector(), "box": bbox},
            "image": {"uri": self.identity, "hash": hash, "faces": faces, "engine": "deepface"},
            "model": {"space": common.space},
            "ingest": {"run": common.run, "host": common.host},
        });
        let folder = Path::new(&self.identity).parent().and_then(Path::file_name);
        if let (true, Some(folder)) = (named, folder) {
            let folder = folder.to_string_lossy();
            document["person"] = json!({"id": folder, "name": folder.replace('_', " ")});
        }
        document
    }

    /// deepface's vectors have any length; ours have length 1.
    fn unit_vector(&self) -> Vec<f32> {
        let vector = self.embedding.as_deref().unwrap_or_default();
        let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        vector.iter().map(|value| (value / norm) as f32).collect()
    }
}
