use super::*;
use crate::ingest::source::Offer;
use crate::ingest::source::testing::{outline, walk};

/// Walks a list in a folder with the photos `a.jpg` and `b.jpg`.
fn walk_text(text: &[u8], form: Form) -> Vec<Offer> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.jpg", "b.jpg"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let list = folder.path().join("list");
    std::fs::write(&list, text).unwrap();
    walk(&mut Names::new(Input::open(&list).unwrap(), form, 1 << 20))
}

fn given(offer: &Offer) -> (Option<Person>, Vec<(&str, &str)>) {
    let Offer::Photo(item) = offer else { panic!("{offer:?}") };
    let labels = &item.entry.labels;
    let labels = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    (item.entry.person.clone(), labels)
}

fn person(id: &str, name: Option<&str>) -> Option<Person> {
    Some(Person {
        id: id.to_owned(),
        name: name.map(str::to_owned),
    })
}

#[test]
fn lists_are_read_by_line_or_nul() {
    for (text, form) in [
        (&b"a.jpg\r\n\n./missing.jpg\nb.jpg"[..], Form::Lines),
        (&b"a.jpg\0./missing.jpg\0b.jpg\0"[..], Form::Null),
    ] {
        let offers = walk_text(text, form);
        let (photos, failures, _) = outline(&offers);
        assert_eq!((photos, failures.len()), (vec!["a.jpg", "b.jpg"], 1), "{form:?}");
    }
    let mut long = vec![b'x'; 3 << 20];
    long.extend(b"\nb.jpg\n");
    let offers = walk_text(&long, Form::Lines);
    let (photos, failures, _) = outline(&offers);
    assert_eq!(
        (photos, failures),
        (vec!["b.jpg"], vec!["line 1: it is longer than 1 MiB"])
    );
}

#[test]
fn manifests_are_csv_or_json_and_name_their_bad_lines() {
    let csv = "\u{feff}uri,person.id,person.name,labels.year,album\n\
               a.jpg,ada,Ada L.,1843,\"x, y\"\n\
               b.jpg,,,,\n\
               a.jpg,too,few\n\
               ,nobody,,,\n\
               ftp://host/c.jpg,,,,\n";
    let json = "{\"path\": \"a.jpg\", \"person\": {\"id\": \"ada\", \"name\": \"Ada L.\"}, \"year\": 1843, \"labels\": {\"album\": \"x, y\"}}\n\
                {\"uri\": \"b.jpg\"}\n\
                {\"uri\": \"b.jpg\"\n\
                {\"person.id\": \"nobody\"}\n\
                {\"uri\": \"ftp://host/c.jpg\"}\n";
    for (text, first) in [(csv, 4), (json, 3)] {
        let offers = walk_text(text.as_bytes(), Form::Manifest);
        let (photos, failures, _) = outline(&offers);
        assert_eq!(photos, ["a.jpg", "b.jpg"]);
        let labels = vec![("album", "x, y"), ("year", "1843")];
        assert_eq!(given(&offers[0]), (person("ada", Some("Ada L.")), labels));
        assert_eq!(given(&offers[1]), (None, vec![]));
        assert_eq!(failures.len(), 3, "{failures:?}");
        for (line, failure) in (first..).zip(failures) {
            assert!(failure.starts_with(&format!("line {line}: ")), "{failure}");
        }
    }
    let offers = walk_text(b"file,name\na.jpg,x\n", Form::Manifest);
    assert!(outline(&offers).1[0].contains("no column uri"));
    let mut open = b"uri\n\"".to_vec();
    open.extend(vec![b'x'; 3 << 20]);
    let offers = walk_text(&open, Form::Manifest);
    assert!(outline(&offers).1[0].contains("quote"), "{offers:?}");
}

#[test]
fn dead_letters_are_taken_once_with_their_people_and_labels() {
    let line = "{\"@timestamp\": \"now\", \"uri\": \"a.jpg\", \"stage\": \"read\", \"reason\": \"r\", \
                \"person\": {\"id\": \"ada\"}, \"labels\": {\"k\": \"v\"}, \"run\": \"1\"}\n";
    let offers = walk_text(line.repeat(2).as_bytes(), Form::DeadLetter);
    assert_eq!(offers.len(), 1);
    assert_eq!(given(&offers[0]), (person("ada", None), vec![("k", "v")]));
}
