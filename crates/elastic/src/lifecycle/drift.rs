//! What a mapping or a template has become, against the one that is compiled in.

use serde_json::Value;

/// Differences between two mappings, each by the field's full name; none where they are the same.
pub fn drift(wanted: &Value, found: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    compare("", wanted, found, &mut differences);
    differences
}

fn compare(name: &str, wanted: &Value, found: &Value, into: &mut Vec<String>) {
    for (parameter, value) in entries(wanted) {
        if parameter != "properties" && found.get(parameter).is_none_or(|other| !same(value, other)) {
            let other = found.get(parameter).map_or("nothing".to_owned(), Value::to_string);
            into.push(format!("{}{parameter}: {other} instead of {value}", dotted(name)));
        }
    }
    for (parameter, value) in entries(found) {
        // `meta` is where a field's index notes things (see `load`).
        if !matches!(parameter.as_str(), "properties" | "_meta" | "meta") && wanted.get(parameter).is_none() {
            into.push(format!("{}{parameter}: {value} was added", dotted(name)));
        }
    }
    let (wanted, found) = (&wanted["properties"], &found["properties"]);
    for (field, mapping) in entries(wanted) {
        let path = format!("{}{field}", dotted(name));
        match found.get(field) {
            Some(other) => compare(&path, mapping, other, into),
            None => into.push(format!("{path}: the field is missing")),
        }
    }
    for (field, _) in entries(found).filter(|(field, _)| wanted.get(field).is_none()) {
        into.push(format!("{}{field}: the field was added", dotted(name)));
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn dotted(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!("{name}.")
    }
}

/// Elasticsearch gives some numbers and booleans back as text, and adds options of its own to those that were given, others in
/// each version.
fn same(wanted: &Value, found: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|other| same(value, other))),
        (Value::Object(_), _) => false,
        _ => wanted == found || text(wanted) == text(found),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_named_by_field() {
        let wanted = json!({"dynamic": "strict", "properties": {
            "a": {"type": "keyword", "ignore_above": 9}, "b": {"properties": {"c": {"type": "float"}}}}});
        assert!(drift(&wanted, &wanted).is_empty());
        let found = json!({"dynamic": "true", "_meta": {"x": 1}, "properties": {
            "a": {"type": "text", "ignore_above": "9"}, "b": {"properties": {"d": {"type": "float"}}}}});
        assert_eq!(
            drift(&wanted, &found),
            [
                r#"dynamic: "true" instead of "strict""#,
                r#"a.type: "text" instead of "keyword""#,
                "b.c: the field is missing",
                "b.d: the field was added",
            ]
        );
    }

    #[test]
    fn options_that_elasticsearch_adds_are_no_difference_and_changed_ones_are() {
        let field = |options: Value| json!({"properties": {"v": {"type": "dense_vector", "index_options": options}}});
        let wanted = field(json!({"type": "bbq_hnsw", "m": 32}));
        let added = field(json!({"type": "bbq_hnsw", "m": "32", "rescore_vector": {"oversample": 3.0}}));
        assert!(drift(&wanted, &added).is_empty());
        for changed in [json!({"type": "bbq_hnsw", "m": 16}), json!({"type": "bbq_hnsw"})] {
            assert_eq!(drift(&wanted, &field(changed)).len(), 1);
        }
    }
}
