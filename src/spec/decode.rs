//! From the tree to typed values, collecting every problem on the way.

use std::collections::HashMap;

use strsim::damerau_levenshtein;

use super::diagnostic::{Diagnostic, MAX_PROBLEMS, Place};
use super::load::{Key, Node, Value};

/// A text file and what is wrong with it.
pub(super) struct Problems<'a> {
    /// The file as the user knows it.
    pub file: &'a str,
    /// Its content.
    pub text: &'a str,
    list: Vec<Diagnostic>,
}

impl<'a> Problems<'a> {
    /// No problem yet.
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, list: Vec::new() }
    }

    /// Notes a problem.
    pub fn add(&mut self, place: Place, message: impl Into<String>) {
        if !self.is_full() {
            self.list.push(Diagnostic::new(self.file, self.text, place, message));
        }
    }

    /// Notes a problem and what to write instead.
    pub fn add_help(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        if !self.is_full() {
            self.list.push(Diagnostic::new(self.file, self.text, place, message).help(help));
        }
    }

    /// Notes a problem in another file.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.is_full() {
            self.list.push(diagnostic);
        }
    }

    /// Whether enough was noted: no more is, so nobody needs to look for it.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MAX_PROBLEMS
    }

    /// Where a place inside a value written in this file stands in the file; the whole value where
    /// escapes or folding keep that from being told.
    pub fn inside(&self, value: &At<String>, inner: Place) -> Place {
        let Some(wanted) = value.value.lines().nth(inner.line.saturating_sub(1)) else {
            return value.place;
        };
        // The text starts on the value's own line, or below it in a block.
        let first = value.place.line + inner.line - 1;
        [first, first + 1]
            .into_iter()
            .find_map(|line| {
                let source = self.text.lines().nth(line - 1)?;
                let before = &source[..source.find(wanted)?];
                let column = before.chars().count() + inner.column;
                (!wanted.trim().is_empty()).then_some(Place { line, column, ..inner })
            })
            .unwrap_or(value.place)
    }

    /// Whether nothing was noted so far.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All that was noted.
    pub fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }
}

/// A value and where it stands in the lab file.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// What can be read from a node.
pub(super) trait Decode: Sized {
    /// Reads as much as there is and notes every problem; `None` if nothing of use is left.
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self>;

    /// The value of a key that isn't there; `None` when the key is required.
    fn missing() -> Option<Self> {
        None
    }

    /// What stands for a value that is not there or can't be read, once that is noted, so that the rest of its
    /// mapping is checked all the same; `None` where there is no mapping without it.
    fn unreadable() -> Option<Self> {
        None
    }
}

/// The value of a key that must be there; `None` when what is wrong with it has been noted.
#[derive(Debug, Clone)]
pub(super) struct Needed<T>(pub Option<T>);

impl<T> std::ops::Deref for Needed<T> {
    type Target = Option<T>;

    fn deref(&self) -> &Option<T> {
        &self.0
    }
}

impl<T: Decode> Decode for Needed<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        Some(Self(T::decode(node, problems)))
    }

    fn unreadable() -> Option<Self> {
        Some(Self(None))
    }
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        T::decode(node, problems).map(|value| Self { value, place: node.place })
    }
}

/// A key that may be left out, or left empty. A value that can't be read counts as left out, so
/// that the rest is checked all the same.
impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match node.value {
            Value::Null => Some(None),
            _ => Some(T::decode(node, problems)),
        }
    }

    fn missing() -> Option<Self> {
        Some(None)
    }
}

/// A list that may be left out, or left empty. Items that can't be read are left out.
impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        let items = match &node.value {
            Value::List(items) => items,
            Value::Null => return Some(Self::new()),
            _ => {
                wrong_type(node, "a list", problems);
                return None;
            }
        };
        let mut decoded = Self::new();
        for item in items {
            if problems.is_full() {
                break;
            }
            decoded.extend(T::decode(item, problems));
        }
        Some(decoded)
    }

    fn missing() -> Option<Self> {
        Some(Self::new())
    }

    fn unreadable() -> Option<Self> {
        Some(Self::new())
    }
}

impl Decode for String {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text.trim().is_empty() => {
                problems.add(node.place, "this text is empty");
                None
            }
            Value::Text(text) => Some(text.clone()),
            _ => {
                wrong_type(node, "text", problems);
                None
            }
        }
    }
}

/// What a node is, in words.
fn kind_of(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "nothing",
        Value::Bool(_) => "a yes-or-no value",
        Value::Int(_) | Value::Float => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}

/// Notes that a node isn't what is needed there.
pub(super) fn wrong_type(node: &Node, expected: &str, problems: &mut Problems<'_>) {
    let message = format!("expected {expected}, found {}", kind_of(node));
    match &node.value {
        Value::Bool(_) | Value::Int(_) | Value::Float if expected == "text" => {
            problems.add_help(node.place, message, format!("put it in quotes: \"{}\"", node.raw));
        }
        Value::Text(_) if expected == "a list" => {
            problems.add_help(node.place, message, format!("write it as a list: [{}]", node.raw));
        }
        Value::Map(_) if expected == "a list" => {
            problems.add_help(node.place, message, "begin every entry with `- name: ...`");
        }
        _ => problems.add(node.place, message),
    }
}

/// The entries of a mapping by key; notes unknown and repeated keys.
pub(super) struct Fields<'n> {
    what: &'static str,
    place: Place,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// The fields of a node that should be `what` (`a database`) with these keys.
    pub fn open(
        node: &'n Node,
        what: &'static str,
        known: &[&str],
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let found = kind_of(node);
            problems.add(node.place, format!("{what} must be keys with values, found {found}"));
            return None;
        };
        let mut first_lines = HashMap::new();
        for (key, _) in entries {
            if problems.is_full() {
                break;
            }
            if let Some(line) = first_lines.get(key.name.as_str()) {
                problems.add_help(
                    key.place,
                    format!("the key `{}` is given twice", key.name),
                    format!("it is already on line {line}"),
                );
                continue;
            }
            first_lines.insert(key.name.as_str(), key.place.line);
            if !known.contains(&key.name.as_str()) {
                unknown_key(key, what, known, problems);
            }
        }
        let place = entries.first().map_or(node.place, |(key, _)| key.place);
        Some(Self { what, place, entries })
    }

    /// Reads one key. Problems are noted at the value, or at the mapping if the key is missing.
    pub fn read<T: Decode>(&self, name: &str, problems: &mut Problems<'_>) -> Option<T> {
        match self.entries.iter().find(|(key, _)| key.name == name) {
            // A required key without a value stands on its own line: point at the key.
            Some((key, node)) if matches!(node.value, Value::Null) && T::missing().is_none() => {
                problems.add(key.place, format!("the key `{name}` has no value"));
                None
            }
            Some((_, node)) => T::decode(node, problems),
            None => {
                let value = T::missing();
                if value.is_none() {
                    let message = format!("{} lacks the key `{name}`", self.what);
                    problems.add_help(self.place, message, format!("add `{name}: ...`"));
                }
                value
            }
        }
    }
}

fn unknown_key(key: &Key, what: &str, known: &[&str], problems: &mut Problems<'_>) {
    let message = format!("unknown key `{}` in {what}", key.name);
    let help = if key.name == "<<" {
        "merge keys are not part of the lab file: write the keys out".to_owned()
    } else {
        did_you_mean(&key.name, known.iter().copied())
            .unwrap_or_else(|| format!("known keys: {}", known.join(", ")))
    };
    problems.add_help(key.place, message, help);
}

/// "did you mean" with the nearest of the candidates, if one is near enough.
pub(super) fn did_you_mean<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
    nearest(name, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// The candidate with the fewest edits, at most a third of the name's length; only the first of very many
/// are compared.
pub(super) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    const MOST: usize = 200;
    // Longer than any name can be: not worth comparing.
    const LONGEST: usize = 100;
    if name.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let name = plain(name);
    candidates
        .take(MOST)
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (damerau_levenshtein(&name, &plain(candidate)), candidate))
        .filter(|(edits, candidate)| *edits <= (name.len().max(candidate.len()) / 3).max(1))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Reads text that must be one of a few words. The hints are for words that users may expect.
pub(super) fn decode_word<T: Copy>(
    node: &Node,
    words: &[(&'static str, T)],
    hints: &[(&str, &str)],
    problems: &mut Problems<'_>,
) -> Option<T> {
    let Value::Text(text) = &node.value else {
        wrong_type(node, "a word", problems);
        return None;
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
        return Some(*value);
    }
    let list = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let message = format!("`{text}` is not one of {list}");
    let hint = hints.iter().find(|(word, _)| *word == text.to_lowercase());
    let help = hint
        .map(|(_, instead)| format!("write {instead}"))
        .or_else(|| did_you_mean(text, words.iter().map(|(word, _)| *word)));
    match help {
        Some(help) => problems.add_help(node.place, message, help),
        None => problems.add(node.place, message),
    }
    None
}
