//! `field=value` conditions, as the command line and the API take them, to a query that goes inside a kNN clause.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::ElasticError;
use crate::schema::collection::Collection;

/// One condition on stored faces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    field: String,
    value: String,
    negated: bool,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, value) = text
            .split_once('=')
            .ok_or("expected field=value or field!=value, for example person.id=ada or labels.album=1927")?;
        let (field, negated) = field.strip_suffix('!').map_or((field, false), |field| (field, true));
        if field.is_empty() || value.is_empty() || field.starts_with('_') || field.contains(['*', ' ']) {
            return Err(format!("{text:?} is no condition; expected field=value"));
        }
        // It would match nothing, which looks like an unknown person.
        if let Some((_, next)) = value.split_once(',')
            && ["labels.", "person.", "image.", "ingest."]
                .iter()
                .any(|field| next.starts_with(field))
            && next.contains('=')
        {
            return Err(format!("{text:?} is two conditions; repeat the filter for each"));
        }
        Ok(Self {
            field: field.to_owned(),
            value: value.to_owned(),
            negated,
        })
    }
}

impl Filter {
    /// Refuses a field that the collection does not have: it would match nothing, which looks like an unknown person. Whether
    /// any face has a label is not known here.
    pub(crate) fn check(&self, collection: &Collection) -> Result<(), ElasticError> {
        if self.label().is_some() || collection.fields.contains(&self.field) {
            return Ok(());
        }
        Err(ElasticError::UnknownField {
            field: self.field.clone(),
            known: collection.fields.iter().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Whether it leaves out the faces that have the value.
    pub(crate) fn is_negated(&self) -> bool {
        self.negated
    }

    /// The key of the label that the condition is about.
    pub(crate) fn label(&self) -> Option<&str> {
        self.field.strip_prefix("labels.")
    }
}

/// The query of all conditions: values of one field are alternatives, different fields must all hold. `None` where there
/// is no condition.
pub fn query(filters: &[Filter]) -> Option<Value> {
    let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut unwanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for filter in filters {
        let side = if filter.negated { &mut unwanted } else { &mut wanted };
        side.entry(&filter.field).or_default().push(&filter.value);
    }
    let terms = |side: BTreeMap<&str, Vec<&str>>| -> Vec<Value> {
        side.into_iter()
            .map(|(field, values)| json!({"terms": {field: values}}))
            .collect()
    };
    (!filters.is_empty()).then(|| json!({"bool": {"filter": terms(wanted), "must_not": terms(unwanted)}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_is_or_different_fields_are_and() {
        let filters: Vec<Filter> = ["person.id=a", "person.id=b", "labels.album=x=y", "labels.album!=z"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(
            query(&filters),
            Some(json!({"bool": {
                "filter": [{"terms": {"labels.album": ["x=y"]}}, {"terms": {"person.id": ["a", "b"]}}],
                "must_not": [{"terms": {"labels.album": ["z"]}}],
            }}))
        );
        assert_eq!(query(&[]), None);
    }

    #[test]
    fn refuses_what_is_no_condition() {
        for text in ["person.id", "=a", "person.id=", "_id=x", "labels.*=x"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
