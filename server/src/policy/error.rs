//! What is wrong with a policy, for Vault's answer and for a person.

use std::fmt;

use crate::hcl::{self, Span};

/// One fault of a policy and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The text at fault: the capability, key or value.
    pub span: Span,
    /// What is wrong: Vault's words without the position, or plainer ones where
    /// Vault only names its parser's types.
    pub message: String,
    /// The words that could stand there, if they are known.
    pub known: &'static [&'static str],
}

/// A policy that Vault refuses.
///
/// [`fmt::Display`] is Vault's answer, which names the first fault only;
/// [`PolicyError::faults`] has all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    text: String,
    faults: Vec<Fault>,
}

impl PolicyError {
    /// Every fault found, in the order of the text; never empty.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for PolicyError {}

/// Faults that Vault reports together, with its text for them.
#[derive(Debug)]
pub(super) struct Group {
    pub text: String,
    pub faults: Vec<Fault>,
}

impl Group {
    /// One fault whose message is Vault's text.
    pub fn one(span: Span, message: String, known: &'static [&'static str]) -> Self {
        Self { text: message.clone(), faults: vec![Fault { span, message, known }] }
    }

    /// A fault of the document or of a value's type; `prefix` names the path.
    pub fn document(prefix: &str, error: &hcl::Error) -> Self {
        Self {
            text: format!("{prefix}{error}"),
            faults: vec![Fault {
                span: error.span(),
                message: format!("{prefix}{}", error.message()),
                known: &[],
            }],
        }
    }

    /// The same with plainer words for a person.
    pub fn with_message(mut self, message: &str) -> Self {
        for fault in &mut self.faults {
            message.clone_into(&mut fault.message);
        }
        self
    }
}

/// How much is said of one policy: each fault repeats its path, so that a long policy could else be
/// answered by much more than itself.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// Collects faults while the rest of a policy is still checked.
#[derive(Debug, Default)]
pub(super) struct Faults {
    groups: Vec<Group>,
    length: usize,
}

impl Faults {
    /// Adds faults; none after the first once there is more of them than anybody reads.
    pub fn add(&mut self, group: Group) {
        if self.groups.is_empty() || self.length < MAX_TEXT {
            self.length += group.text.len();
            self.groups.push(group);
        }
    }

    /// The error, if anything was wrong.
    pub fn into_error(self) -> Option<PolicyError> {
        let first = self.groups.first()?;
        let text = format!("failed to parse policy: {}", first.text);
        let faults = self.groups.into_iter().flat_map(|group| group.faults).collect();
        Some(PolicyError { text, faults })
    }
}

/// The error for an empty text, which Vault's API refuses before parsing it.
pub(super) fn empty() -> PolicyError {
    let message = "'policy' parameter not supplied or empty".to_owned();
    PolicyError { text: message.clone(), faults: vec![Fault { span: Span::START, message, known: &[] }] }
}
