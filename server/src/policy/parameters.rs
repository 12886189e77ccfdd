//! Parameter rules: which fields with which values a request may have.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::hcl::{self, Item, Value, ValueKind};

/// Field names (lower case) with their permitted or forbidden values; no values
/// means any value, and the field `*` means every field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters(BTreeMap<String, Vec<Json>>);

impl Parameters {
    /// Whether no field is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The field names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Json])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Adds what `item` (`allowed_parameters { … }` or `= { … }`) says.
    pub(super) fn read(&mut self, name: &str, item: &Item) -> Result<(), hcl::Error> {
        if let [label, ..] = item.labels() {
            // A labelled block is a field whose one value is the block.
            self.add(&label.name, std::slice::from_ref(&item.value));
            return Ok(());
        }
        let ValueKind::Object(body) = &item.value.kind else {
            let kind = item.value.node_type();
            return Err(hcl::Error::at(
                item.value.span,
                format!("{name}: not an object type for map ({kind})"),
            ));
        };
        for field in &body.items {
            match &field.value.kind {
                ValueKind::List(values) => self.add(field.name(), values),
                ValueKind::Object(_) => self.add(field.name(), std::slice::from_ref(&field.value)),
                _ => return Err(hcl::not_a_list(&field.value)),
            }
        }
        Ok(())
    }

    fn add(&mut self, field: &str, values: &[Value]) {
        let values = values.iter().map(hcl::to_json);
        self.0.entry(field.to_lowercase()).or_default().extend(values);
    }

    /// Adds the rules of another policy for the same path: values add up, and
    /// "any value" on either side wins.
    pub(super) fn merge(&mut self, other: &Self) {
        for (field, values) in &other.0 {
            match self.0.get_mut(field) {
                Some(mine) if values.is_empty() => mine.clear(),
                Some(mine) if mine.is_empty() => {}
                Some(mine) => mine.extend(values.iter().cloned()),
                None => {
                    self.0.insert(field.clone(), values.clone());
                }
            }
        }
    }

    /// Whether these rules, read as `denied_parameters`, forbid a request's fields.
    pub(super) fn deny(&self, data: &Map<String, Json>) -> bool {
        if self.is_empty() {
            return false;
        }
        if self.0.contains_key("*") {
            return true;
        }
        data.iter().any(|(field, value)| {
            self.field(field).is_some_and(|values| values.is_empty() || any_part_matches(value, values))
        })
    }

    /// Whether these rules, read as `allowed_parameters`, permit a request's fields.
    pub(super) fn allow(&self, data: &Map<String, Json>) -> bool {
        let every_field = self.0.contains_key("*");
        if self.is_empty() || (every_field && self.0.len() == 1) {
            return true;
        }
        data.iter().all(|(field, value)| match self.field(field) {
            Some(values) => values.is_empty() || all_parts_match(value, values),
            None => every_field,
        })
    }

    fn field(&self, name: &str) -> Option<&[Json]> {
        // Names are nearly always lower case already.
        match self.0.get(name) {
            Some(values) => Some(values),
            None => self.0.get(&name.to_lowercase()).map(Vec::as_slice),
        }
    }
}

/// Whether the value, or any element of a list or of a comma-separated text, is
/// in `values`.
fn any_part_matches(value: &Json, values: &[Json]) -> bool {
    if is_in(value, values) {
        return true;
    }
    match value {
        Json::Array(parts) => parts.iter().any(|part| is_in(part, values)),
        Json::String(text) => text.split(',').any(|part| text_is_in(part.trim(), values)),
        _ => false,
    }
}

/// Whether the value is in `values`, or all elements of a list or of a
/// comma-separated text are.
fn all_parts_match(value: &Json, values: &[Json]) -> bool {
    if is_in(value, values) {
        return true;
    }
    match value {
        Json::Array(parts) => parts.iter().all(|part| is_in(part, values)),
        Json::String(text) => text.split(',').all(|part| text_is_in(part.trim(), values)),
        _ => false,
    }
}

fn is_in(value: &Json, values: &[Json]) -> bool {
    match value {
        Json::String(text) => text_is_in(text, values),
        other => values.iter().any(|known| same(known, other)),
    }
}

fn text_is_in(text: &str, values: &[Json]) -> bool {
    values.iter().any(|known| known.as_str().is_some_and(|glob| glob_matches(glob, text)))
}

/// Whether a policy's value equals a request's. A request's number never equals
/// one of a policy: Vault keeps the former as text and the latter as an integer.
fn same(known: &Json, value: &Json) -> bool {
    match (known, value) {
        (Json::Number(_), Json::Number(_)) => false,
        (Json::Array(known), Json::Array(value)) => {
            known.len() == value.len() && known.iter().zip(value).all(|(k, v)| same(k, v))
        }
        (Json::Object(known), Json::Object(value)) => {
            known.len() == value.len()
                && known.iter().all(|(key, k)| value.get(key).is_some_and(|v| same(k, v)))
        }
        _ => known == value,
    }
}

/// A `*` at the start or the end of `glob` stands for any text; `*` alone is a
/// plain character.
fn glob_matches(glob: &str, text: &str) -> bool {
    if glob.len() < 2 {
        return glob == text;
    }
    match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
        (Some(tail), Some(_)) => text.contains(&tail[..tail.len() - 1]),
        (Some(tail), None) => text.ends_with(tail),
        (None, Some(head)) => text.starts_with(head),
        (None, None) => glob == text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(source: &str) -> Parameters {
        let body = crate::hcl::parse(&format!("p {{ {source} }}")).unwrap();
        let mut parameters = Parameters::default();
        parameters.read("p", &body.items[0]).unwrap();
        parameters
    }

    fn data(value: &Json) -> Map<String, Json> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn allowed_values() {
        let rules =
            parameters(r#"name = ["a", "b*", "*z"] flag = [true] any = [] number = [5] list = [["x", "y"]]"#);
        for (fields, allowed) in [
            (json!({"name": "a"}), true),
            (json!({"NAME": "bcd"}), true),
            (json!({"name": "xyz"}), true),
            (json!({"name": "c"}), false),
            (json!({"name": "a,bb"}), true),
            (json!({"name": "a,c"}), false),
            (json!({"name": ["a", "b1"]}), true),
            (json!({"name": ["a", "c"]}), false),
            (json!({"name": null}), false),
            (json!({"flag": true}), true),
            (json!({"flag": false}), false),
            (json!({"flag": "true"}), false),
            (json!({"any": {"deep": 1}}), true),
            (json!({"number": 5}), false),
            (json!({"list": ["x", "y"]}), true),
            (json!({"other": 1}), false),
            (json!({}), true),
        ] {
            assert_eq!(rules.allow(&data(&fields)), allowed, "{fields}");
        }
        assert!(parameters("\"*\" = []").allow(&data(&json!({"x": 1}))));
        let others = parameters("\"*\" = [] \"a\" = [\"1\"]");
        assert!(others.allow(&data(&json!({"x": 1, "a": "1"}))));
        assert!(!others.allow(&data(&json!({"a": "2"}))));
    }

    #[test]
    fn denied_values() {
        let rules = parameters(r#"name = ["a", "b*"] gone = []"#);
        for (fields, denied) in [
            (json!({"name": "a"}), true),
            (json!({"name": "c,bb"}), true),
            (json!({"name": ["c", "a"]}), true),
            (json!({"name": "c"}), false),
            (json!({"Gone": 1}), true),
            (json!({"other": "a"}), false),
        ] {
            assert_eq!(rules.deny(&data(&fields)), denied, "{fields}");
        }
        assert!(parameters("\"*\" = []").deny(&data(&json!({"x": 1}))));
        assert!(!Parameters::default().deny(&data(&json!({"x": 1}))));
    }

    #[test]
    fn globs() {
        for (glob, text, want) in [
            ("*", "*", true),
            ("*", "a", false),
            ("", "", true),
            ("**", "a", true),
            ("*b*", "abc", true),
            ("*b*", "ac", false),
            ("a*", "a", true),
            ("a*c", "abc", false),
        ] {
            assert_eq!(glob_matches(glob, text), want, "{glob} {text}");
        }
    }

    #[test]
    fn merging_adds_values_and_any_value_wins() {
        let mut rules = parameters(r#"a = ["1"] b = [] c = ["3"]"#);
        rules.merge(&parameters(r#"a = ["2"] b = ["x"] c = [] d = ["4"]"#));
        let shown: Vec<_> = rules.iter().map(|(name, values)| format!("{name}{}", values.len())).collect();
        assert_eq!(shown, ["a2", "b0", "c0", "d1"]);
    }
}
