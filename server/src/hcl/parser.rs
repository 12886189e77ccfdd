//! Tokens to the document tree, by HCL1's grammar.

use super::lexer::{Kind, Lexer, Token};
use super::{Body, Error, Item, Key, MAX_DEPTH, Span, Value, ValueKind, number, string};

/// Reads an HCL document.
pub(super) fn parse(source: &str) -> Result<Body, Error> {
    let mut lexer = Lexer::new(source);
    let next = lexer.next()?;
    let mut parser = Parser { lexer, next, depth: 0, gave_up: false };
    let items = parser.items(Kind::Eof)?;
    Ok(Body { items, span: Span { length: source.len(), ..Span::START } })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    next: Token<'a>,
    depth: usize,
    /// Whether the text could not be cut into tokens, or is nested too deep.
    gave_up: bool,
}

impl<'a> Parser<'a> {
    /// Takes the next token.
    fn take(&mut self) -> Result<Token<'a>, Error> {
        let token = self.next;
        self.next = self.lexer.next().inspect_err(|_| self.gave_up = true)?;
        Ok(token)
    }

    /// Items up to `end`, which is left unread.
    fn items(&mut self, end: Kind) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        while self.next.kind != end && self.next.kind != Kind::Eof {
            items.push(self.item()?);
            // A comma between items is optional.
            if self.next.kind == Kind::Comma {
                self.take()?;
            }
        }
        Ok(items)
    }

    fn item(&mut self) -> Result<Item, Error> {
        let mut keys: Vec<Key> = Vec::new();
        loop {
            let token = self.next;
            match token.kind {
                Kind::Ident | Kind::String => {
                    let name = if token.kind == Kind::String {
                        string::unquote(&token)?
                    } else {
                        token.text.to_owned()
                    };
                    keys.push(Key { name, span: token.span });
                    self.take()?;
                }
                Kind::Assign if keys.is_empty() => {
                    return Err(Error::at(token.span, "no object keys found!"));
                }
                Kind::Assign if keys.len() > 1 => {
                    return Err(Error::at(token.span, "nested object expected: LBRACE got: ASSIGN"));
                }
                Kind::Assign => {
                    self.take()?;
                    let value = self.value()?;
                    return Ok(Item { keys, assign: Some(token.span), value });
                }
                Kind::LeftBrace if keys.is_empty() => {
                    return Err(Error::at(token.span, "expected: IDENT | STRING got: LBRACE"));
                }
                Kind::LeftBrace => {
                    // As JSON, each label is a level of its own.
                    let labels = keys.len() - 1;
                    self.depth += labels;
                    let value = self.object()?;
                    self.depth -= labels;
                    return Ok(Item { keys, assign: None, value });
                }
                Kind::Eof | Kind::RightBrace if !keys.is_empty() => {
                    return Err(self.lonely_keys(&keys));
                }
                kind => {
                    return Err(Error::at(
                        token.span,
                        format!("expected: IDENT | STRING | ASSIGN | LBRACE got: {kind}"),
                    ));
                }
            }
        }
    }

    /// Keys that nothing follows.
    fn lonely_keys(&self, keys: &[Key]) -> Error {
        let span = match keys {
            [first, .., last] => first.span.to(last.span),
            [only] => only.span,
            [] => self.next.span,
        };
        let text: Vec<_> = keys.iter().map(|key| key.span.text(self.lexer.source())).collect();
        let keys = text.join(" ");
        Error::at(span, format!("key '{keys}' expected start of object ('{{') or assignment ('=')"))
            .seen_at(self.next.span)
    }

    fn value(&mut self) -> Result<Value, Error> {
        let token = self.next;
        let kind = match token.kind {
            Kind::LeftBrace => return self.object(),
            Kind::LeftBracket => return self.list(),
            Kind::Number | Kind::Float => number::value(&token)?,
            Kind::Bool => ValueKind::Bool(token.text == "true"),
            Kind::String => ValueKind::String(string::unquote(&token)?),
            Kind::Heredoc => ValueKind::String(string::heredoc_text(&token)),
            Kind::Eof if self.depth > 0 => return Err(self.missing_brace(token.span)),
            Kind::Eof => return Err(Error::bare(token.span, "EOF token found")),
            kind => {
                return Err(Error::at(
                    token.span,
                    format!("Unknown token: {} {kind} {}", token.span, token.text),
                ));
            }
        };
        self.take()?;
        Ok(Value { kind, span: token.span })
    }

    /// `{ … }`, the opening brace being the next token.
    fn object(&mut self) -> Result<Value, Error> {
        let open = self.take()?;
        self.descend(&open)?;
        let items = self.items(Kind::RightBrace)?;
        if self.next.kind != Kind::RightBrace {
            return Err(self.missing_brace(open.span));
        }
        let close = self.take()?;
        self.depth -= 1;
        let span = open.span.to(close.span);
        Ok(Value { kind: ValueKind::Object(Body { items, span }), span })
    }

    /// The error that the next token should have been a closing brace.
    fn missing_brace(&self, span: Span) -> Error {
        // Vault reads once more to find it missing.
        let at = Span { column: self.next.span.column + 1, ..self.next.span };
        Error::at(span, format!("object expected closing RBRACE got: {}", self.next.kind)).seen_at(at)
    }

    /// `[ … ]`, the opening bracket being the next token.
    fn list(&mut self) -> Result<Value, Error> {
        let open = self.take()?;
        self.descend(&open)?;
        let mut values = Vec::new();
        loop {
            match self.next.kind {
                Kind::RightBracket => break,
                // HCL1 lets commas stand anywhere between elements.
                Kind::Comma => {
                    self.take()?;
                }
                Kind::Number
                | Kind::Float
                | Kind::Bool
                | Kind::String
                | Kind::Heredoc
                | Kind::LeftBrace
                | Kind::LeftBracket => {
                    values.push(self.element()?);
                    if !matches!(self.next.kind, Kind::Comma | Kind::RightBracket) {
                        return Err(Error::at(
                            self.next.span,
                            format!(
                                "error parsing list, expected comma or list end, got: {}",
                                self.next.kind
                            ),
                        ));
                    }
                }
                kind => {
                    return Err(Error::at(
                        self.next.span,
                        format!("unexpected token while parsing list: {kind}"),
                    ));
                }
            }
        }
        let close = self.take()?;
        self.depth -= 1;
        Ok(Value { kind: ValueKind::List(values), span: open.span.to(close.span) })
    }

    /// A value inside a list.
    fn element(&mut self) -> Result<Value, Error> {
        let Token { kind, span, .. } = self.next;
        self.value().map_err(|error| match kind {
            // These faults are reported as they are.
            _ if self.gave_up => error,
            Kind::LeftBracket => error.within(span, "list within list"),
            Kind::LeftBrace => error.within(span, "object within list"),
            _ => error,
        })
    }

    fn descend(&mut self, open: &Token<'_>) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            self.gave_up = true;
            return Err(Error::at(open.span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }
}
