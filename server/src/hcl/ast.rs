//! The document tree, the same for HCL and JSON input.

use super::Span;

/// The items of a document or of one `{ … }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// Attributes and blocks in the order they were written, repetitions kept.
    pub items: Vec<Item>,
    /// From the opening to the closing brace, or the whole document.
    pub span: Span,
}

/// `key = value`, `key { … }` or `key "label" { … }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The key followed by the block's labels; never empty in a parsed document.
    pub keys: Vec<Key>,
    /// The `=` (or `:` in JSON); blocks have none.
    pub assign: Option<Span>,
    /// What the key stands for.
    pub value: Value,
}

/// A key or a block's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The name without quotes, escapes resolved.
    pub name: String,
    /// The key as written, quotes included.
    pub span: Span,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The value itself.
    pub kind: ValueKind,
    /// The value as written.
    pub span: Span,
}

/// The kinds of value that HCL1 knows.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind {
    /// A quoted string or a heredoc; also JSON's `null`, which reads as empty.
    String(String),
    /// A whole number, with its text since Vault reads `0x10` as a string too.
    Number {
        /// The number.
        value: i64,
        /// The number as written.
        text: String,
    },
    /// A number with a fraction or an exponent.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// `[ … ]`
    List(Vec<Value>),
    /// `{ … }`
    Object(Body),
}

impl Body {
    /// The items whose first key is `name`, ignoring case as Vault's decoder does.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.is(name))
    }
}

impl Item {
    /// Whether the first key is `name`, ignoring case.
    pub fn is(&self, name: &str) -> bool {
        self.keys.first().is_some_and(|key| key.name.eq_ignore_ascii_case(name))
    }

    /// The first key's name.
    pub fn name(&self) -> &str {
        self.keys.first().map_or("", |key| &key.name)
    }

    /// The block's labels: all keys but the first.
    pub fn labels(&self) -> &[Key] {
        self.keys.get(1..).unwrap_or_default()
    }

    /// Where the item's key stands.
    pub fn key_span(&self) -> Span {
        self.keys.first().map_or(self.value.span, |key| key.span)
    }
}

impl Value {
    /// What kind of value this is, in words.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            ValueKind::String(_) => "a string",
            ValueKind::Number { .. } => "a number",
            ValueKind::Float(_) => "a number with a fraction",
            ValueKind::Bool(_) => "true or false",
            ValueKind::List(_) => "a list",
            ValueKind::Object(_) => "a block",
        }
    }

    /// The name of Vault's syntax node for this value, which its decoder's
    /// messages show.
    pub(crate) fn node_type(&self) -> &'static str {
        match self.kind {
            ValueKind::List(_) => "*ast.ListType",
            ValueKind::Object(_) => "*ast.ObjectList",
            _ => "*ast.LiteralType",
        }
    }
}
