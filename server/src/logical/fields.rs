//! Typed access to request data, as lenient as Vault: numbers as strings, lists as comma text.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use super::{Error, Object, Response};
use crate::duration;

/// Typed access to a JSON object. A field that is absent is `None`; null is an empty text, list or map,
/// 0 or false, but for durations `None`, as in Vault. One of the wrong type is an error response naming it.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    data: &'a Object,
    on_existence_check: bool,
}

impl<'a> Fields<'a> {
    /// Access to `data`.
    pub fn new(data: &'a Object) -> Self {
        Self { data, on_existence_check: false }
    }

    /// The same for a path where Vault looks whether the thing exists before it writes: it reads the fields
    /// there already, and its errors lack the words they begin with elsewhere.
    #[must_use]
    pub(crate) fn on_existence_check(self, checked: bool) -> Self {
        Self { on_existence_check: checked, ..self }
    }

    /// The raw value; null counts as absent.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.data.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field is given (and not null).
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The raw value, null included.
    pub(crate) fn given(self, name: &str) -> Option<&'a Value> {
        self.data.get(name)
    }

    /// A string; numbers and booleans become their text.
    pub fn string(&self, name: &str) -> Result<Option<String>, Error> {
        match self.given(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(String::new())),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(flag)) => Ok(Some(if *flag { "1" } else { "0" }.to_owned())),
            Some(other) => Err(self.unconvertible(name, "string", other)),
        }
    }

    /// A string, or an error response `missing <name>` when it is absent or empty.
    pub fn required_string(&self, name: &str) -> Result<String, Error> {
        self.string(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Error::bad_request(format!("missing {name}")))
    }

    /// A boolean; `"true"`, `"1"`, `1` and so on are accepted as Go's `ParseBool` does.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, Error> {
        match self.given(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(false)),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::Number(number)) => Ok(Some(number.as_f64() != Some(0.0))),
            Some(Value::String(text)) => {
                match text.as_str() {
                    "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
                    "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
                    _ => Err(self
                        .refused(name, "'' cannot parse value as 'bool': strconv.ParseBool: invalid syntax")),
                }
            }
            Some(other) => Err(self.unconvertible(name, "bool", other)),
        }
    }

    /// A whole number; numbers in strings are accepted.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Error> {
        let Some(value) = self.given(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::Null => Some(0),
            Value::Number(number) => number.as_i64(),
            Value::String(text) if text.is_empty() => Some(0),
            Value::String(text) => text.parse().ok(),
            Value::Bool(flag) => Some(i64::from(*flag)),
            other => return Err(self.unconvertible(name, "int", other)),
        };
        number.map(Some).ok_or_else(|| {
            self.refused(name, "'' cannot parse value as 'int': strconv.ParseInt: invalid syntax")
        })
    }

    /// A duration: seconds or Go's syntax.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, Error> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        duration::parse_value(value).map(Some).map_err(|error| self.refused(name, &error.to_string()))
    }

    /// A duration in a field that Vault declares as a text and parses later: its error names no field.
    pub fn text_duration(&self, name: &str) -> Result<Option<Duration>, Error> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        if text.is_empty() {
            return Ok(Some(Duration::ZERO));
        }
        duration::parse(&text).map(Some).map_err(|error| Error::bad_request(error.to_string()))
    }

    /// A list of strings; a single string is split at commas. Entries are trimmed, empty ones dropped.
    pub fn comma_strings(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        let texts = match self.given(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text.split(',').map(str::to_owned).collect(),
            Some(_) => self.strings(name)?.unwrap_or_default(),
        };
        let kept = texts.iter().map(|text| text.trim().to_owned());
        Ok(Some(kept.filter(|text| !text.is_empty()).collect()))
    }

    /// A list of strings; a single string is a list of one.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.given(name) else {
            return Ok(None);
        };
        if value.is_null() {
            return Ok(Some(Vec::new()));
        }
        let items = match value {
            Value::Array(items) => items,
            Value::Object(map) if map.is_empty() => return Ok(Some(Vec::new())),
            // A list of this one thing.
            Value::Object(_) => return Err(self.refused(name, &unconvertible_item(0, value))),
            _ => return Ok(self.string(name)?.map(|text| vec![text])),
        };
        items
            .iter()
            .enumerate()
            .map(|(at, item)| match item {
                Value::String(text) => Ok(text.clone()),
                Value::Number(number) => Ok(number.to_string()),
                Value::Bool(flag) => Ok(if *flag { "1" } else { "0" }.to_owned()),
                other => Err(self.refused(name, &unconvertible_item(at, other))),
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// An object, given as an object or as its JSON text.
    pub fn object(&self, name: &str) -> Result<Option<Object>, Error> {
        match self.given(name) {
            None => Ok(None),
            Some(value @ Value::String(text)) => {
                serde_json::from_str(text).map(Some).map_err(|_| self.no_map(name, value))
            }
            Some(value) => self.map(name, value).map(|map| Some(map.clone())),
        }
    }

    /// What a field has that is a map. An empty list is an empty map too: languages whose lists and maps
    /// are one, PHP and Lua among them, send `[]` for it.
    ///
    /// # Errors
    /// 400 where it is none.
    pub(crate) fn map(self, name: &str, value: &'a Value) -> Result<&'a Object, Error> {
        static EMPTY: LazyLock<Object> = LazyLock::new(Object::new);
        match value {
            Value::Object(map) => Ok(map),
            Value::Null => Ok(&EMPTY),
            Value::Array(items) if items.is_empty() => Ok(&EMPTY),
            other => Err(self.no_map(name, other)),
        }
    }

    /// The error for a value that should be a map.
    fn no_map(self, name: &str, value: &Value) -> Error {
        self.unconvertible(name, "map[string]interface {}", value)
    }

    /// A map of strings: an object, one `k=v`, whose value is the whole rest, or a list of them.
    pub fn string_map(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, Error> {
        let Some(value) = self.given(name) else {
            return Ok(None);
        };
        let pairs = match value {
            Value::Array(_) => self.strings(name)?.unwrap_or_default(),
            Value::String(text) => vec![text.clone()],
            _ => {
                let object = self.object(name)?.unwrap_or_default();
                let fields = Fields::new(&object);
                return object
                    .iter()
                    .map(|(key, value)| {
                        // Not a map of texts, so Vault reads it as a list, of this one thing.
                        let text =
                            fields.string(key).map_err(|_| self.refused(name, &unconvertible_item(0, value)));
                        Ok((key.clone(), text?.unwrap_or_default()))
                    })
                    .collect::<Result<_, _>>()
                    .map(Some);
            }
        };
        pairs
            .iter()
            .enumerate()
            .map(|(at, pair)| {
                let parts = pair.split_once('=').filter(|(key, _)| !key.is_empty());
                let (key, text) = parts.ok_or_else(|| {
                    self.refused(name, &format!("invalid key pair at index {at} in field {name:?}"))
                })?;
                Ok((key.to_owned(), text.to_owned()))
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn unconvertible(self, name: &str, expected: &str, value: &Value) -> Error {
        let found = go_type(value);
        self.refused(name, &format!("'' expected type '{expected}', got unconvertible type '{found}'"))
    }

    /// The error of a field that cannot be read. As in Vault since values were found in its logs, none is
    /// repeated.
    pub(crate) fn refused(self, name: &str, cause: &str) -> Error {
        let start = if self.on_existence_check { "" } else { "Field validation failed: " };
        Error::bad_request(format!("{start}error converting input for field {name:?}: {cause}"))
    }

    /// Adds Vault's warning for fields that aren't `known` to a response.
    pub fn warn_unknown(&self, known: &[&str], response: &mut Response) {
        let mut unknown: Vec<&str> =
            self.data.keys().map(String::as_str).filter(|key| !known.contains(key)).collect();
        if !unknown.is_empty() {
            unknown.sort_unstable();
            response
                .warnings
                .push(format!("Endpoint ignored these unrecognized parameters: [{}]", unknown.join(" ")));
        }
    }
}

/// The text for an item of a list that isn't a string.
fn unconvertible_item(at: usize, item: &Value) -> String {
    let found = go_type(item);
    format!(
        "decoding failed due to the following error(s):\n\n'[{at}]' expected type 'string', got unconvertible type '{found}'"
    )
}

/// What Go calls the type of a decoded JSON value.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "json.Number",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        match value {
            Value::Object(map) => map,
            _ => Object::new(),
        }
    }

    #[test]
    fn lenient_types() {
        let data = object(json!({
            "n": "5", "f": 3.5, "yes": "true", "ttl": "1h", "list": "a, b,,c", "items": ["x", 1],
            "none": null
        }));
        let fields = Fields::new(&data);
        assert_eq!(fields.int("n"), Ok(Some(5)));
        assert_eq!(fields.int("f").unwrap_err().status(), 400);
        assert_eq!(fields.bool("yes"), Ok(Some(true)));
        assert_eq!(fields.duration("ttl"), Ok(Some(Duration::from_hours(1))));
        assert_eq!(fields.comma_strings("list").unwrap().unwrap(), ["a", "b", "c"]);
        assert_eq!(fields.strings("items").unwrap().unwrap(), ["x", "1"]);
        assert_eq!(fields.string("none"), Ok(Some(String::new())));
        assert_eq!(fields.bool("none"), Ok(Some(false)));
        assert_eq!(fields.int("none"), Ok(Some(0)));
        assert_eq!(fields.comma_strings("none"), Ok(Some(Vec::new())));
        assert_eq!(fields.string_map("none"), Ok(Some(BTreeMap::new())));
        assert_eq!(fields.duration("none"), Ok(None));
        assert_eq!(fields.string("absent"), Ok(None));
    }

    #[test]
    fn maps_come_in_three_forms() {
        for value in [json!({"a": "1,b=2"}), json!("a=1,b=2"), json!(["a=1,b=2"])] {
            let data = object(json!({ "m": value }));
            let map = Fields::new(&data).string_map("m").unwrap().unwrap();
            assert_eq!(map, BTreeMap::from([("a".to_owned(), "1,b=2".to_owned())]));
        }
        for value in [json!("{\"a\": 1}"), json!(""), json!([""]), json!("=1")] {
            let data = object(json!({ "m": value }));
            assert_eq!(Fields::new(&data).string_map("m").unwrap_err().status(), 400, "{data:?}");
        }
    }

    #[test]
    fn an_empty_list_is_an_empty_map_and_the_other_way_round() {
        let data = object(json!({"list": [], "map": {}, "full": ["x"]}));
        let fields = Fields::new(&data);
        assert_eq!(fields.object("list"), Ok(Some(Object::new())));
        assert_eq!(fields.string_map("list"), Ok(Some(BTreeMap::new())));
        assert_eq!(fields.strings("map"), Ok(Some(Vec::new())));
        assert_eq!(fields.comma_strings("map"), Ok(Some(Vec::new())));
        assert_eq!(fields.object("full").unwrap_err().status(), 400);
    }

    #[test]
    fn wrong_types_are_error_responses_that_hide_the_value() {
        let data = object(json!({"n": "s3cret", "s": ["x"], "b": "maybe", "ttl": "-3"}));
        let fields = Fields::new(&data);
        for error in [
            fields.int("n").unwrap_err(),
            fields.string("s").unwrap_err(),
            fields.bool("b").unwrap_err(),
            fields.duration("ttl").unwrap_err(),
        ] {
            assert_eq!(error.status(), 400);
            assert!(!error.to_string().contains("s3cret"));
        }
        assert_eq!(fields.required_string("zz").unwrap_err().to_string(), "missing zz");
    }

    #[test]
    fn unknown_fields_are_a_sorted_warning() {
        let data = object(json!({"b": 1, "ttl": 1, "a": 1}));
        let mut response = Response::default();
        Fields::new(&data).warn_unknown(&["ttl"], &mut response);
        assert_eq!(response.warnings, ["Endpoint ignored these unrecognized parameters: [a b]"]);
    }
}
