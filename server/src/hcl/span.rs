//! Where a piece of text stands in its source.

use std::fmt;

/// A stretch of source text, pointing at what an error or a value is about.
///
/// Lines and columns start at 1 and columns count characters, as editors and
/// Vault's own messages do; `offset` and `length` count bytes, so that
/// `&source[offset..offset + length]` is the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Line, starting at 1.
    pub line: usize,
    /// Column in characters, starting at 1.
    pub column: usize,
    /// Byte offset from the start of the source.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
}

impl Span {
    /// The start of a source, with no length.
    pub const START: Self = Self { line: 1, column: 1, offset: 0, length: 0 };

    /// The text this span covers in `source`; empty if it does not fit there.
    #[must_use]
    pub fn text<'a>(&self, source: &'a str) -> &'a str {
        source.get(self.offset..self.offset.saturating_add(self.length)).unwrap_or_default()
    }

    /// The same start, reaching to the end of `last`.
    #[must_use]
    pub(crate) fn to(self, last: Self) -> Self {
        let end = last.offset + last.length;
        Self { length: end.saturating_sub(self.offset), ..self }
    }
}

impl fmt::Display for Span {
    /// `line:column`, as Vault writes positions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
