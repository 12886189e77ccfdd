//! Values to Rust types, with the messages of Vault's decoder.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::{Body, Error, Value, ValueKind};
use crate::duration::{self, DurationError};

/// A string, or a whole number as it was written.
pub(crate) fn string(name: &str, value: &Value) -> Result<String, Error> {
    match &value.kind {
        ValueKind::String(text) | ValueKind::Number { text, .. } => Ok(text.clone()),
        _ => Err(Error::at(value.span, format!("{name}: unknown type for string {}", value.node_type()))),
    }
}

/// A list of strings.
pub(crate) fn strings(name: &str, value: &Value) -> Result<Vec<String>, Error> {
    let ValueKind::List(values) = &value.kind else {
        return Err(not_a_list(value));
    };
    values.iter().enumerate().map(|(index, value)| string(&format!("{name}[{index}]"), value)).collect()
}

/// The error for a value that should have been a list.
pub(crate) fn not_a_list(value: &Value) -> Error {
    Error::at(value.span, format!("unknown slice type: {}", value.node_type()))
}

/// A duration: a number of seconds or a text such as `1h30m`.
pub(crate) fn duration(value: &Value) -> Result<Duration, DurationError> {
    match &value.kind {
        ValueKind::String(text) => duration::parse(text),
        ValueKind::Number { value, .. } => duration::parse_value(&(*value).into()),
        ValueKind::Float(seconds) => duration::parse(&seconds.trunc().to_string()),
        _ => Err(DurationError::WrongType),
    }
}

/// The value as JSON; of repeated keys the last counts.
pub(crate) fn to_json(value: &Value) -> Json {
    match &value.kind {
        ValueKind::String(text) => Json::from(text.as_str()),
        ValueKind::Number { value, .. } => Json::from(*value),
        ValueKind::Float(number) => Json::from(*number),
        ValueKind::Bool(flag) => Json::from(*flag),
        ValueKind::List(values) => values.iter().map(to_json).collect(),
        ValueKind::Object(body) => Json::Object(object_to_json(body)),
    }
}

/// The items as a JSON object; labels become nested objects, as in JSON input.
pub(crate) fn object_to_json(body: &Body) -> Map<String, Json> {
    let mut object = Map::new();
    for item in &body.items {
        let value = item.labels().iter().rev().fold(to_json(&item.value), |value, label| {
            Json::Object(Map::from_iter([(label.name.clone(), value)]))
        });
        object.insert(item.name().to_owned(), value);
    }
    object
}
