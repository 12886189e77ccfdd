//! Attribute values, converted as loosely as Vault does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::error::Fault;
use crate::hcl::{self, Body, Item, Value, ValueKind};

/// A fault of the item's value: `name: expected …, found …`.
fn unexpected(item: &Item, wanted: &str) -> Fault {
    let found = item.value.describe();
    Fault::new(item.value.span, format!("{}: expected {wanted}, found {found}", item.name()))
}

/// A text; Vault takes a whole number as its text.
pub(super) fn string(item: &Item) -> Result<String, Fault> {
    text(&item.value).ok_or_else(|| unexpected(item, "a string"))
}

fn text(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) | ValueKind::Number { text, .. } => Some(text.clone()),
        _ => None,
    }
}

/// A text, `None` if empty.
pub(super) fn optional_string(item: &Item) -> Result<Option<String>, Fault> {
    string(item).map(|text| (!text.is_empty()).then_some(text))
}

/// A path, `None` if empty.
pub(super) fn optional_path(item: &Item) -> Result<Option<PathBuf>, Fault> {
    Ok(optional_string(item)?.map(PathBuf::from))
}

/// `true`, `"true"`, `1` and whatever else Go's `strconv.ParseBool` takes.
pub(super) fn boolean(item: &Item) -> Result<bool, Fault> {
    match &item.value.kind {
        ValueKind::Bool(flag) => Ok(*flag),
        ValueKind::Number { value, .. } => Ok(*value != 0),
        ValueKind::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(Fault::new(
                item.value.span,
                format!("{}: expected true or false, found {text:?}", item.name()),
            )),
        },
        _ => Err(unexpected(item, "true or false")),
    }
}

/// A number of seconds or a text such as `1h30m`.
pub(super) fn duration(item: &Item) -> Result<Duration, Fault> {
    hcl::decode_duration(&item.value)
        .map_err(|error| Fault::new(item.value.span, format!("{}: {error}", item.name())))
}

/// A whole number, perhaps as a text.
pub(super) fn integer(item: &Item) -> Result<i64, Fault> {
    match &item.value.kind {
        ValueKind::Number { value, .. } => Some(*value),
        ValueKind::String(text) => text.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| unexpected(item, "a whole number"))
}

/// A whole number of 0 or more.
pub(super) fn unsigned(item: &Item) -> Result<u64, Fault> {
    u64::try_from(integer(item)?)
        .map_err(|_| Fault::new(item.value.span, format!("{}: must not be negative", item.name())))
}

/// A list of texts, or one text with commas.
pub(super) fn strings(item: &Item) -> Result<Vec<String>, Fault> {
    match &item.value.kind {
        ValueKind::String(text) => {
            Ok(text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect())
        }
        ValueKind::List(values) => values
            .iter()
            .map(|value| text(value).ok_or_else(|| unexpected(item, "a list of strings")))
            .collect(),
        _ => Err(unexpected(item, "a list of strings")),
    }
}

/// A block.
pub(super) fn block(item: &Item) -> Result<&Body, Fault> {
    match &item.value.kind {
        ValueKind::Object(body) => Ok(body),
        _ => Err(unexpected(item, "a block")),
    }
}

/// The attributes of a block as texts, as Vault hands options to a backend: what
/// is no text is shown as JSON.
pub(super) fn options(body: &Body) -> BTreeMap<String, String> {
    body.items
        .iter()
        .map(|item| {
            let value = text(&item.value).unwrap_or_else(|| hcl::to_json(&item.value).to_string());
            (item.name().to_owned(), value)
        })
        .collect()
}

/// The type of a `stanza "type" { … }`, in lower case; `type = "…"` inside counts too.
pub(super) fn stanza_type(item: &Item, body: &Body) -> Result<String, Fault> {
    let inside = body.named("type").last().map(string).transpose()?;
    let label = item.labels().first().map(|label| label.name.clone());
    inside.or(label).map(|kind| kind.to_lowercase()).filter(|kind| !kind.is_empty()).ok_or_else(|| {
        let name = item.name();
        Fault::new(item.key_span(), format!("{name} type must be specified: {name} \"TYPE\" {{ … }}"))
    })
}
