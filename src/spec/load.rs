//! YAML text to a tree of values that know where they stand.
//!
//! The only place that knows the YAML library. Nothing is decided here about what a lab file may
//! say; only what is no YAML at all, or more of it than a lab file can need, is refused.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Spanned};

use super::diagnostic::Place;

/// Most nodes, aliases replayed included, that a lab file may have.
const MAX_NODES: usize = 50_000;
/// Most bytes of text, aliases replayed included.
const MAX_TEXT: usize = 16 * 1024 * 1024;
/// Deepest nesting of lists and mappings.
const MAX_DEPTH: usize = 16;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where the value is written; for a mapping or list, where its first entry starts.
    pub place: Place,
    /// The value.
    pub value: Value,
    /// A scalar as it is written, quotes included; empty for anything else.
    pub raw: String,
}

/// What a YAML node can be.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float,
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file, repeated keys included.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Where it stands.
    pub place: Place,
    /// The key as text.
    pub name: String,
}

/// Why text is no YAML that can be used.
#[derive(Debug)]
pub(super) struct SyntaxError {
    /// Where the parser gave up.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

/// Reads one YAML document.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_total_scalar_bytes: MAX_TEXT,
            max_depth: MAX_DEPTH,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    let tree: Spanned<RawNode> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax_error(&error))?;
    Ok(tree_node(tree, text))
}

const TOO_LARGE: &str = "this is larger or more deeply nested than a lab file can be";

fn syntax_error(error: &serde_saphyr::Error) -> SyntaxError {
    let error = error.without_snippet();
    let place = error.location().map_or(Place::START, place_of);
    // Around what happened inside of an alias.
    let mut error = error;
    while let Error::AliasError { error: inner, .. } = error {
        error = inner;
    }
    let message = match error {
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } | Error::MultipleDocuments { .. } => {
            "a lab file is one YAML document; here a second one starts".to_owned()
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => TOO_LARGE.to_owned(),
        other => {
            // The library appends the location, which the diagnostic shows by itself.
            let full = other.to_string();
            // Its parser has a limit of its own, and no error of its own for it.
            if full.starts_with("recursion limit exceeded") {
                return SyntaxError { place, message: TOO_LARGE.to_owned() };
            }
            full.rfind(" at line ").map_or(full.clone(), |end| full[..end].to_owned())
        }
    };
    SyntaxError { place, message }
}

fn place_of(location: Location) -> Place {
    Place {
        line: usize::try_from(location.line()).unwrap_or(0).max(1),
        column: usize::try_from(location.column()).unwrap_or(0).max(1),
        len: usize::try_from(location.span().len()).unwrap_or(1).max(1),
    }
}

/// The tree as the library hands it over.
enum RawNode {
    Null,
    Bool(bool),
    Int(i128),
    Float,
    Text(String),
    List(Vec<Spanned<RawNode>>),
    Map(Vec<(Spanned<String>, Spanned<RawNode>)>),
}

fn tree_node(raw: Spanned<RawNode>, text: &str) -> Node {
    let place = place_of(raw.referenced);
    let value = match raw.value {
        RawNode::Null => Value::Null,
        RawNode::Bool(value) => Value::Bool(value),
        RawNode::Int(value) => Value::Int(value),
        RawNode::Float => Value::Float,
        RawNode::Text(value) => Value::Text(value),
        RawNode::List(items) => Value::List(items.into_iter().map(|item| tree_node(item, text)).collect()),
        RawNode::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let place = place_of(key.referenced);
                    let name = key.value;
                    (Key { place, name }, tree_node(value, text))
                })
                .collect(),
        ),
    };
    let scalar = !matches!(value, Value::List(_) | Value::Map(_));
    let raw = if scalar { source_of(raw.defined, text) } else { String::new() };
    Node { place, value, raw }
}

/// The text that a scalar was read from.
fn source_of(location: Location, text: &str) -> String {
    let span = location.span();
    let slice = span.byte_offset().zip(span.byte_len()).and_then(|(start, len)| {
        let start = usize::try_from(start).ok()?;
        let len = usize::try_from(len).ok()?;
        text.get(start..start.checked_add(len)?)
    });
    slice.unwrap_or_default().trim_end().to_owned()
}

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<RawNode, E> {
        Ok(RawNode::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<RawNode, E> {
        Ok(RawNode::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawNode, D::Error> {
        RawNode::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<RawNode, E> {
        Ok(RawNode::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<RawNode, E> {
        Ok(RawNode::Int(i128::from(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<RawNode, E> {
        Ok(RawNode::Int(i128::from(value)))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<RawNode, E> {
        Ok(RawNode::Int(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<RawNode, E> {
        Ok(RawNode::Int(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<RawNode, E> {
        Ok(RawNode::Float)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<RawNode, E> {
        Ok(RawNode::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawNode, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(RawNode::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawNode, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(RawNode::Map(entries))
    }
}
