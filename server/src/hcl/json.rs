//! JSON documents, read into the tree that the same text in HCL would give.

use super::lexer::Lexer;
use super::{Body, Error, Item, Key, MAX_DEPTH, Span, Value, ValueKind, number};

/// Reads a JSON document whose root is an object.
pub(super) fn parse(source: &str) -> Result<Body, Error> {
    let mut reader = Reader { lexer: Lexer::new(source), depth: 0 };
    reader.skip_space();
    let mut body = reader.object()?;
    reader.skip_space();
    let rest = reader.lexer.here();
    if reader.lexer.bump().is_some() {
        return Err(reader.lexer.fault(rest, "text after the end of the JSON document"));
    }
    flatten(&mut body, &mut Budget(MAX_COPIED))?;
    Ok(body)
}

/// How many bytes of keys may be copied: each of a block's blocks gets its keys again.
const MAX_COPIED: usize = 64 << 20;

/// What is left of [`MAX_COPIED`].
struct Budget(usize);

impl Budget {
    /// The keys once more.
    fn copy(&mut self, keys: &[Key]) -> Result<Vec<Key>, Error> {
        let size = keys.iter().map(|key| size_of::<Key>() + key.name.len()).sum();
        self.0 = self.0.checked_sub(size).ok_or_else(|| {
            let span = keys.first().map_or(Span::START, |key| key.span);
            Error::at(span, "too many blocks within blocks")
        })?;
        Ok(keys.to_vec())
    }
}

struct Reader<'a> {
    lexer: Lexer<'a>,
    depth: usize,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.lexer.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
    }

    /// Takes `wanted` if it comes next, after white space.
    fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        let found = self.lexer.peek() == Some(wanted);
        if found {
            self.lexer.bump();
        }
        found
    }

    /// The error that something else than `wanted` comes next.
    fn expected(&mut self, wanted: &str) -> Error {
        self.skip_space();
        let at = self.lexer.here();
        match self.lexer.bump() {
            Some(c) => self.lexer.fault(at, &format!("expected {wanted}, found {c:?}")),
            None => self.lexer.fault(at, &format!("expected {wanted}, found the end")),
        }
    }

    fn descend(&mut self, open: Span) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.lexer.fault(open, &format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    fn object(&mut self) -> Result<Body, Error> {
        let start = self.lexer.here();
        if !self.take('{') {
            return Err(self.expected("an object"));
        }
        self.descend(start)?;
        let mut items = Vec::new();
        // A comma before the closing brace is let through, as Vault does.
        while !self.take('}') {
            items.push(self.member()?);
            if !self.take(',') {
                if self.take('}') {
                    break;
                }
                return Err(self.expected("',' or '}'"));
            }
        }
        self.depth -= 1;
        Ok(Body { items, span: start.to(self.lexer.here()) })
    }

    fn member(&mut self) -> Result<Item, Error> {
        let start = self.lexer.here();
        if self.lexer.peek() != Some('"') {
            return Err(self.expected("a key in double quotes"));
        }
        let key = Key { name: self.string()?, span: start.to(self.lexer.here()) };
        self.skip_space();
        let colon = self.lexer.here();
        if !self.take(':') {
            return Err(self.expected("':'"));
        }
        Ok(Item { keys: vec![key], assign: Some(Span { length: 1, ..colon }), value: self.value()? })
    }

    fn value(&mut self) -> Result<Value, Error> {
        self.skip_space();
        let start = self.lexer.here();
        let kind = match self.lexer.peek() {
            Some('{') => ValueKind::Object(self.object()?),
            Some('[') => ValueKind::List(self.list()?),
            Some('"') => ValueKind::String(self.string()?),
            Some(c) if c == '-' || c.is_ascii_digit() => self.number(start)?,
            Some(c) if c.is_ascii_alphabetic() => self.word(start)?,
            _ => return Err(self.expected("a value")),
        };
        Ok(Value { kind, span: start.to(self.lexer.here()) })
    }

    fn list(&mut self) -> Result<Vec<Value>, Error> {
        let start = self.lexer.here();
        self.take('[');
        self.descend(start)?;
        let mut values = Vec::new();
        while !self.take(']') {
            if self.lexer.rest().starts_with("null") {
                return Err(self.expected("a value"));
            }
            values.push(self.value()?);
            if !self.take(',') {
                if self.take(']') {
                    break;
                }
                return Err(self.expected("',' or ']'"));
            }
        }
        self.depth -= 1;
        Ok(values)
    }

    fn word(&mut self, start: Span) -> Result<ValueKind, Error> {
        self.lexer.take_while(|c| c.is_ascii_alphanumeric());
        match self.lexer.since(start) {
            "true" => Ok(ValueKind::Bool(true)),
            "false" => Ok(ValueKind::Bool(false)),
            "null" => Ok(ValueKind::String(String::new())),
            word => Err(self.lexer.fault(start, &format!("unknown value {word}"))),
        }
    }

    fn number(&mut self, start: Span) -> Result<ValueKind, Error> {
        self.lexer.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        let text = self.lexer.since(start);
        // serde_json checks JSON's number grammar; the value is read as in HCL.
        if serde_json::from_str::<serde_json::Number>(text).is_err() {
            return Err(self.lexer.fault(start, &format!("invalid number {text}")));
        }
        let kind = if text.contains(['.', 'e', 'E']) {
            text.parse().ok().filter(|f: &f64| f.is_finite()).map(ValueKind::Float)
        } else {
            number::integer(text).map(|value| ValueKind::Number { value, text: text.to_owned() })
        };
        kind.ok_or_else(|| self.lexer.fault(start, &format!("number out of range: {text}")))
    }

    fn string(&mut self) -> Result<String, Error> {
        let start = self.lexer.here();
        self.lexer.bump();
        loop {
            let at = self.lexer.here();
            match self.lexer.bump() {
                None | Some('\n') => return Err(Error::at(at, "literal not terminated")),
                Some('\\') => {
                    self.lexer.bump();
                }
                Some('"') => break,
                Some(_) => {}
            }
        }
        serde_json::from_str(self.lexer.since(start))
            .map_err(|_| self.lexer.fault(start, "invalid JSON string"))
    }
}

/// Turns objects and lists of objects into labelled, repeated blocks where
/// HashiCorp's library does: an item whose value is an object of objects, or a
/// list of objects, becomes one item for each of them.
fn flatten(body: &mut Body, budget: &mut Budget) -> Result<(), Error> {
    let mut flat = Vec::with_capacity(body.items.len());
    for item in body.items.drain(..) {
        flatten_item(item, &mut flat, budget)?;
    }
    for item in &mut flat {
        flatten_value(&mut item.value, budget)?;
    }
    body.items = flat;
    Ok(())
}

fn flatten_value(value: &mut Value, budget: &mut Budget) -> Result<(), Error> {
    match &mut value.kind {
        ValueKind::Object(body) => flatten(body, budget),
        ValueKind::List(values) => values.iter_mut().try_for_each(|value| flatten_value(value, budget)),
        _ => Ok(()),
    }
}

fn flatten_item(item: Item, out: &mut Vec<Item>, budget: &mut Budget) -> Result<(), Error> {
    let is_object = |value: &Value| matches!(value.kind, ValueKind::Object(_));
    match item.value.kind {
        ValueKind::Object(body)
            if !body.items.is_empty() && body.items.iter().all(|sub| is_object(&sub.value)) =>
        {
            for mut sub in body.items {
                let mut keys = budget.copy(&item.keys)?;
                keys.append(&mut sub.keys);
                let item = Item { keys, assign: item.assign, value: sub.value };
                flatten_item(item, out, budget)?;
            }
        }
        ValueKind::List(values) if !values.is_empty() && values.iter().all(is_object) => {
            for value in values {
                let item = Item { keys: budget.copy(&item.keys)?, assign: item.assign, value };
                flatten_item(item, out, budget)?;
            }
        }
        _ => out.push(item),
    }
    Ok(())
}
