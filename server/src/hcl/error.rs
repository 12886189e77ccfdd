//! What is wrong with an HCL or JSON document, and where.

use std::fmt;

use super::Span;

/// A document that cannot be read.
///
/// [`fmt::Display`] gives Vault's own sentence, `At LINE:COLUMN: …`. Its position is where
/// the reader gave up, as in Vault; [`Error::span`] is the text at fault, which for a
/// missing brace is the one that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    span: Span,
    message: String,
    /// Where Vault says it is; it says nothing for some faults.
    at: Option<Span>,
}

impl Error {
    /// A fault that Vault places at the start of the text at fault.
    pub(crate) fn at(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), at: Some(span) }
    }

    /// A fault that Vault reports without a position.
    pub(super) fn bare(span: Span, message: impl Into<String>) -> Self {
        Self { at: None, ..Self::at(span, message) }
    }

    /// The same fault, which Vault places at `at`.
    pub(super) fn seen_at(self, at: Span) -> Self {
        Self { at: Some(at), ..self }
    }

    /// The same fault inside of something that starts at `at`, in Vault's words.
    pub(super) fn within(self, at: Span, what: &str) -> Self {
        let message = format!("error while trying to parse {what}: {self}");
        Self { span: self.span, message, at: Some(at) }
    }

    /// The text at fault.
    pub fn span(&self) -> Span {
        self.span
    }

    /// What is wrong, without the position.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "At {at}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
