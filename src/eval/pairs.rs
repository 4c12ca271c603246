//! Pair files: which two photos are compared, and whether they show one person. LFW's formats (View 1: one set, View 2:
//! several folds) and CSV.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{EvalError, io_error};

/// Folds where a file names none.
const FOLDS: usize = 10;

/// Two photos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// One.
    pub a: PathBuf,
    /// The other.
    pub b: PathBuf,
    /// Whether they show the same person.
    pub same: bool,
    /// The part of the file that it belongs to, from 0.
    pub fold: usize,
}

/// Reads a pair file; photos are looked for under `images`.
///
/// LFW's files begin with a line of one number (pairs of each kind) or two (folds, pairs of each kind in a fold). Anything
/// else is CSV: two paths relative to `images`, then 1 or 0 (also `true`, `same`), then perhaps the fold; a header is passed
/// over. Without folds the pairs of each kind are cut into ten, in their order.
pub fn read(path: &Path, images: &Path) -> Result<Vec<Pair>, EvalError> {
    let text = std::fs::read_to_string(path).map_err(io_error(path))?;
    let first: Vec<&str> = text.lines().next().unwrap_or_default().split_whitespace().collect();
    let numbers: Option<Vec<usize>> = first.iter().map(|word| word.parse().ok()).collect();
    let pairs = match numbers.as_deref() {
        Some([count]) => lfw(path, &text, images, 1, *count)?,
        Some([folds, count]) => lfw(path, &text, images, *folds, *count)?,
        _ => csv(path, &text, images)?,
    };
    let kinds = [true, false].map(|same| pairs.iter().filter(|pair| pair.same == same).count());
    if kinds.contains(&0) {
        return Err(EvalError::TooFew {
            what: format!("pairs of one person and of two in {}", path.display()),
            found: 0,
            needed: 1,
        });
    }
    Ok(pairs)
}

/// The people that a pair file of LFW names, without looking for their photos.
pub fn people(path: &Path) -> Result<Vec<String>, EvalError> {
    let text = std::fs::read_to_string(path).map_err(io_error(path))?;
    let mut names: Vec<String> = Vec::new();
    for line in text.lines().skip(1) {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [name, _, _] => names.push((*name).to_owned()),
            [a, _, b, _] => names.extend([(*a).to_owned(), (*b).to_owned()]),
            // Lists of people have a name and its number of photos.
            [name, _] => names.push((*name).to_owned()),
            _ => {}
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn lfw(path: &Path, text: &str, images: &Path, folds: usize, count: usize) -> Result<Vec<Pair>, EvalError> {
    let mut pairs = Vec::new();
    let expected = folds * 2 * count;
    for (number, line) in text.lines().enumerate().skip(1) {
        let bad = |reason: &str| EvalError::Pairs {
            path: path.to_owned(),
            line: number as u64 + 1,
            reason: reason.to_owned(),
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let photo = |name: &str, number: &str| {
            let number = number.parse().map_err(|_| bad("a photo's number is none"))?;
            lfw_photo(images, name, number)
        };
        let (a, b, same) = match words.as_slice() {
            [] => continue,
            [name, first, second] => (photo(name, first)?, photo(name, second)?, true),
            [a, first, b, second] => (photo(a, first)?, photo(b, second)?, false),
            _ => return Err(bad("expected NAME N N, or NAME N NAME N")),
        };
        let fold = match folds {
            1 => 0,
            _ => pairs.len() / (2 * count.max(1)),
        };
        pairs.push(Pair { a, b, same, fold });
    }
    if pairs.len() != expected {
        return Err(EvalError::Pairs {
            path: path.to_owned(),
            line: 1,
            reason: format!("it promises {expected} pairs, and {} follow", pairs.len()),
        });
    }
    if folds == 1 {
        cut(&mut pairs);
    }
    Ok(pairs)
}

/// `NAME/NAME_0001.jpg`, or with another image's ending.
fn lfw_photo(images: &Path, name: &str, number: u32) -> Result<PathBuf, EvalError> {
    let at = |ending: &str| images.join(name).join(format!("{name}_{number:04}.{ending}"));
    let found = ["jpg", "png", "jpeg", "webp"]
        .map(at)
        .into_iter()
        .find(|path| path.is_file());
    found.ok_or_else(|| EvalError::NoPhoto { path: at("jpg") })
}

fn csv(path: &Path, text: &str, images: &Path) -> Result<Vec<Pair>, EvalError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let (mut pairs, mut numbers) = (Vec::new(), HashMap::new());
    for (row, record) in reader.records().enumerate() {
        let bad = |reason: String| EvalError::Pairs {
            path: path.to_owned(),
            line: row as u64 + 1,
            reason,
        };
        let record = record.map_err(|error| bad(error.to_string()))?;
        let field = |at: usize| record.get(at).unwrap_or_default();
        if row == 0 && !images.join(field(0)).is_file() && !matches!(field(2), "0" | "1") {
            continue;
        }
        let same = match field(2).to_ascii_lowercase().as_str() {
            "1" | "true" | "same" => true,
            "0" | "false" | "different" => false,
            other => return Err(bad(format!("{other:?} is neither 1 (same person) nor 0"))),
        };
        let photo = |at: usize| {
            let path = images.join(field(at));
            if path.is_file() {
                Ok(path)
            } else {
                Err(EvalError::NoPhoto { path })
            }
        };
        let fold = match field(3) {
            "" => None,
            name => {
                let next = numbers.len();
                Some(*numbers.entry(name.to_owned()).or_insert(next))
            }
        };
        pairs.push((photo(0)?, photo(1)?, same, fold));
    }
    let has_folds = numbers.len() > 1 && pairs.iter().all(|(.., fold)| fold.is_some());
    let mut pairs: Vec<Pair> = pairs
        .into_iter()
        .map(|(a, b, same, fold)| Pair {
            a,
            b,
            same,
            fold: fold.unwrap_or(0),
        })
        .collect();
    if !has_folds {
        cut(&mut pairs);
    }
    Ok(pairs)
}

/// Cuts the pairs of each kind into ten, in their order: neighbours share people, and stay together.
fn cut(pairs: &mut [Pair]) {
    for same in [true, false] {
        let count = pairs.iter().filter(|pair| pair.same == same).count();
        let kind = pairs.iter_mut().filter(|pair| pair.same == same);
        for (at, pair) in kind.enumerate() {
            pair.fold = at * FOLDS.min(count) / count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(text: &str) -> Result<Vec<Pair>, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, photos) in [("Ada", 3), ("Bob", 2)] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            for number in 1..=photos {
                std::fs::write(folder.path().join(format!("{name}/{name}_{number:04}.jpg")), "").unwrap();
            }
        }
        let file = folder.path().join("pairs.txt");
        std::fs::write(&file, text).unwrap();
        read(&file, folder.path())
    }

    #[test]
    fn both_views_of_lfw_and_csv_are_read() {
        let one = world("2\nAda\t1\t2\nAda\t2\t3\nAda\t1\tBob\t1\nAda\t2\tBob\t2\n").unwrap();
        assert_eq!(one.iter().filter(|pair| pair.same).count(), 2);
        assert!(one[0].a.ends_with("Ada/Ada_0001.jpg") && one[3].b.ends_with("Bob/Bob_0002.jpg"));
        let two = world("2\t1\nAda 1 2\nAda 1 Bob 1\nBob 1 2\nAda 3 Bob 2\n").unwrap();
        assert_eq!(two.iter().map(|pair| pair.fold).collect::<Vec<_>>(), [0, 0, 1, 1]);
        let text = "a,b,same\nAda/Ada_0001.jpg,Ada/Ada_0002.jpg,1\nAda/Ada_0001.jpg,Bob/Bob_0001.jpg,0\n";
        let csv = world(text).unwrap();
        assert_eq!(csv.iter().map(|pair| pair.same).collect::<Vec<_>>(), [true, false]);
        let folds = world("Ada/Ada_0001.jpg,Ada/Ada_0002.jpg,same,x\nAda/Ada_0001.jpg,Bob/Bob_0001.jpg,different,y\n");
        assert_eq!(folds.unwrap()[1].fold, 1);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            (
                "1\nAda 1 2\nAda 1 Bob 1\nAda 2 Bob 1\n",
                "promises 2 pairs, and 3 follow",
            ),
            ("1\nAda 1 2 3 4\n", "line 2: expected NAME N N"),
            ("1\nAda 1 x\n", "line 2: a photo's number"),
            ("1\nAda 1 9\nAda 1 Bob 1\n", "Ada_0009.jpg: no such photo"),
            ("a,b,maybe\nx,y,maybe\n", "line 2: \"maybe\""),
            ("Ada/Ada_0001.jpg,Ada/Ada_0002.jpg,1\n", "at least 1"),
        ] {
            let error = world(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
