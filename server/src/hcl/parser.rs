//! Tokens to the document tree, by HCL1's grammar.

use super::lexer::{Kind, Lexer, Token};
use super::{Body, Error, Item, Key, MAX_DEPTH, Span, Value, ValueKind, number, string};

/// Reads an HCL document.
pub(super) fn parse(source: &str) -> Result<Body, Error> {
    let mut lexer = Lexer::new(source);
    let next = lexer.next()?;
    let mut parser = Parser { lexer, next, depth: 0 };
    let items = parser.items(Kind::Eof)?;
    Ok(Body { items, span: Span { length: source.len(), ..Span::START } })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    next: Token<'a>,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Takes the next token.
    fn take(&mut self) -> Result<Token<'a>, Error> {
        let token = self.next;
        self.next = self.lexer.next()?;
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
                    let value = self.object()?;
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
        Error::bare(
            span,
            format!("key '{}' expected start of object ('{{') or assignment ('=')", text.join(" ")),
        )
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
            return Err(Error::bare(
                open.span,
                format!("object expected closing RBRACE got: {}", self.next.kind),
            ));
        }
        let close = self.take()?;
        self.depth -= 1;
        let span = open.span.to(close.span);
        Ok(Value { kind: ValueKind::Object(Body { items, span }), span })
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
                    values.push(self.value()?);
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

    fn descend(&mut self, open: &Token<'_>) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::at(open.span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }
}
