//! What is wrong with an HCL or JSON document, and where.

use std::fmt;

use super::Span;

/// A document that cannot be read.
///
/// [`fmt::Display`] gives Vault's own sentence, which starts with `At LINE:COLUMN: `
/// for some faults and not for others; [`Error::span`] always has the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    span: Span,
    message: String,
    prefixed: bool,
}

impl Error {
    /// A fault whose sentence Vault prefixes with the position.
    pub(crate) fn at(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), prefixed: true }
    }

    /// A fault that Vault reports without a position.
    pub(crate) fn bare(span: Span, message: impl Into<String>) -> Self {
        Self { prefixed: false, ..Self::at(span, message) }
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
        if self.prefixed {
            write!(f, "At {}: ", self.span)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
