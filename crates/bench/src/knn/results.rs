//! What was measured, one JSON object a line. A line is written when its measurement is done, so that a run that is cut off
//! goes on where it was.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::record::{IndexKey, PeerKey, Record, SearchKey};
use crate::error::BenchError;

/// The file.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
    /// Of Elasticsearch.
    pub version: String,
    /// What is in it.
    pub records: Vec<Record>,
}

impl Results {
    /// Opens the file, or makes it. A last line that was cut off is taken away; what was measured on another version of
    /// Elasticsearch than this is another file's.
    pub fn open(path: &Path, version: &str) -> Result<Self, BenchError> {
        let failed = |reason: std::io::Error| unusable(path, reason.to_string());
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .read(true)
            .open(path)
            .map_err(failed)?;
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(failed)?;
        }
        let read = |(line, text): (usize, &str)| {
            serde_json::from_str(text).map_err(|error| {
                let reason = format!("line {} is no result ({error}); name another file", line + 1);
                unusable(path, reason)
            })
        };
        let records: Vec<Record> = text[..whole].lines().enumerate().map(read).collect::<Result<_, _>>()?;
        let mut versions = records.iter().map(|record| record.place().elasticsearch.as_str());
        if let Some(other) = versions.find(|other| !other.is_empty() && *other != version) {
            let reason = format!("it was measured on elasticsearch {other}, this is {version}; name another file");
            return Err(unusable(path, reason));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            version: version.to_owned(),
            records,
        })
    }

    /// Adds a measurement.
    pub fn add(&mut self, record: Record) -> Result<(), BenchError> {
        let failed = |reason: String| unusable(&self.path, reason);
        let mut line = serde_json::to_vec(&record).map_err(|error| failed(error.to_string()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| failed(error.to_string()))?;
        self.records.push(record);
        Ok(())
    }

    /// Whether this index was measured.
    pub fn has_index(&self, wanted: &IndexKey) -> bool {
        self.records
            .iter()
            .any(|record| matches!(record, Record::Index { key, .. } if key == wanted))
    }

    /// Whether these searches were measured.
    pub fn has_search(&self, wanted: &SearchKey) -> bool {
        self.records
            .iter()
            .any(|record| matches!(record, Record::Search { key, .. } if key == wanted))
    }

    /// What these searches found of the ten nearest, of people who are stored.
    pub fn recall_at_10(&self, wanted: &SearchKey) -> Option<f64> {
        self.records.iter().find_map(|record| match record {
            Record::Search { key, recall, .. } if key == wanted => Some(recall.at_10),
            _ => None,
        })
    }

    /// Whether this peer was measured, in whatever ways it is asked.
    pub fn has_peer(&self, faces: u64, dims: usize, name: &str) -> bool {
        let same = |key: &PeerKey| key.faces == faces && key.dims == dims && key.peer == name;
        self.records
            .iter()
            .any(|record| matches!(record, Record::Peer { key, .. } if same(key)))
    }
}

fn unusable(path: &Path, reason: String) -> BenchError {
    BenchError::Results {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knn::record::{Filter, Level, Place, Segments};
    use crate::knn::truth::Recall;
    use facedex_elastic::read::effort::Effort;
    use facedex_elastic::schema::layout::IndexType;

    #[test]
    fn what_was_measured_is_known_again_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("knn.ndjson");
        let index = IndexKey {
            faces: 10,
            dims: 128,
            index_type: IndexType::BbqHnsw,
            m: 16,
            ef_construction: 100,
            shards: 1,
            replicas: 0,
            segments: Segments::Merged,
        };
        let key = SearchKey {
            index,
            k: 10,
            effort: Effort {
                candidates: 1000,
                rescored: 50,
            },
            filter: Filter::Tenth,
        };
        let mut results = Results::open(&path, "9.5.3").unwrap();
        assert!(!results.has_search(&key));
        let record = Record::Search {
            key,
            recall: Recall::default(),
            strangers: Recall::default(),
            queries: 5,
            comparisons: 7.0,
            of_busiest_node: 7.0,
            cpu_ms: 1.0,
            cpu_ms_of_busiest_node: 1.0,
            loads: vec![Level::default()],
            place: Place {
                elasticsearch: "9.5.3".to_owned(),
                ..Place::default()
            },
        };
        results.add(record).unwrap();
        results.file.write_all(b"{\"kind\":\"sea").unwrap();
        let results = Results::open(&path, "9.5.3").unwrap();
        assert!(results.has_search(&key) && results.records.len() == 1);
        assert!(!results.has_search(&SearchKey { k: 50, ..key }));
        assert!(!results.has_index(&index) && !results.has_peer(10, 128, "numpy"));
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("}\n"));
        let other = Results::open(&path, "8.19.21").unwrap_err().to_string();
        assert!(other.contains("measured on elasticsearch 9.5.3"), "{other}");
        std::fs::write(&path, "no result\n").unwrap();
        let wrong = Results::open(&path, "9.5.3").unwrap_err().to_string();
        assert!(wrong.contains("name another file"), "{wrong}");
    }
}
