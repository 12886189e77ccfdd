//! HCL1, the language of Vault's policies and server configuration.
//!
//! HCL1 is not HCL2: a block's brace may stand on the next line, attributes and
//! blocks may share a line, attributes may repeat, and `${ … }` is plain text.
//! A document that starts with `{` is JSON, as in HashiCorp's library, and reads
//! into the same tree.
//!
//! Where that library silently drops what it cannot read (an item before a
//! closing brace such as `capabilities = ["read" }`, a JSON document without its
//! last brace), this reader reports an error: a truncated policy must not pass
//! for one that grants nothing.

mod ast;
mod decode;
mod error;
mod json;
mod lexer;
mod number;
mod parser;
mod quote;
mod span;
mod string;

pub use ast::{Body, Item, Key, Value, ValueKind};
pub(crate) use decode::{
    duration as decode_duration, not_a_list, object_to_json, string as decode_string,
    strings as decode_strings, to_json,
};
pub use error::Error;
pub(crate) use quote::Quoted;
pub use span::Span;

/// How deep blocks and lists may be nested.
pub const MAX_DEPTH: usize = 100;

/// Reads a document, HCL or JSON.
///
/// # Errors
/// The first fault of the text, with its position.
pub fn parse(source: &str) -> Result<Body, Error> {
    if is_json(source) { json::parse(source) } else { parser::parse(source) }
}

/// Whether a document is taken for JSON: its first character is `{`.
pub fn is_json(source: &str) -> bool {
    source.trim_start().starts_with('{')
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
