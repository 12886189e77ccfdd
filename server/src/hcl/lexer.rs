//! Text to tokens, by the rules of HCL1's scanner.

use std::fmt;

use super::{Error, Span, number, string};

/// The kinds of token, named as in HCL1's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Eof,
    Ident,
    Number,
    Float,
    Bool,
    String,
    Heredoc,
    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    Comma,
    Period,
    Assign,
    Add,
    Sub,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eof => "EOF",
            Self::Ident => "IDENT",
            Self::Number => "NUMBER",
            Self::Float => "FLOAT",
            Self::Bool => "BOOL",
            Self::String => "STRING",
            Self::Heredoc => "HEREDOC",
            Self::LeftBracket => "LBRACK",
            Self::RightBracket => "RBRACK",
            Self::LeftBrace => "LBRACE",
            Self::RightBrace => "RBRACE",
            Self::Comma => "COMMA",
            Self::Period => "PERIOD",
            Self::Assign => "ASSIGN",
            Self::Add => "ADD",
            Self::Sub => "SUB",
        })
    }
}

/// A token: its kind, place and text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    pub span: Span,
    pub text: &'a str,
}

/// A cursor over the source that counts lines and columns.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    source: &'a str,
    at: Span,
    /// How often Vault's scanner has tried to read beyond the end: each try moves the
    /// position it reports there by a column.
    past_end: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(source: &'a str) -> Self {
        Self { source, at: Span::START, past_end: 0 }
    }

    /// The next token; comments and white space are skipped.
    pub fn next(&mut self) -> Result<Token<'a>, Error> {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            let start = self.at;
            let Some(c) = self.bump() else {
                let column = start.column + self.past_end;
                return Ok(self.token(Kind::Eof, Span { column, ..start }));
            };
            let kind = match c {
                '#' => {
                    self.line_comment();
                    continue;
                }
                '/' => {
                    self.comment(start)?;
                    continue;
                }
                '"' => {
                    string::scan_quoted(self)?;
                    Kind::String
                }
                '<' => {
                    string::scan_heredoc(self)?;
                    Kind::Heredoc
                }
                '[' => Kind::LeftBracket,
                ']' => Kind::RightBracket,
                '{' => Kind::LeftBrace,
                '}' => Kind::RightBrace,
                ',' => Kind::Comma,
                '=' => Kind::Assign,
                '+' => Kind::Add,
                '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                    number::scan_fraction(self);
                    Kind::Float
                }
                '.' => Kind::Period,
                '-' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                    self.bump();
                    number::scan(self, start)?
                }
                '-' => Kind::Sub,
                c if c.is_ascii_digit() => number::scan(self, start)?,
                c if is_letter(c) => {
                    self.take_while(|c| is_letter(c) || is_digit(c) || matches!(c, '-' | '.'));
                    self.note_end();
                    match self.since(start) {
                        "true" | "false" => Kind::Bool,
                        _ => Kind::Ident,
                    }
                }
                '\0' => return Err(self.fault(start, "unexpected null character (0x00)")),
                _ => return Err(self.fault(start, "illegal char")),
            };
            return Ok(self.token(kind, start));
        }
    }

    /// The whole text.
    pub fn source(&self) -> &'a str {
        self.source
    }

    /// Where the next character stands, with no length.
    pub fn here(&self) -> Span {
        self.at
    }

    /// The text from `start` to here.
    pub fn since(&self, start: Span) -> &'a str {
        &self.source[start.offset..self.at.offset]
    }

    /// The text not read yet.
    pub fn rest(&self) -> &'a str {
        &self.source[self.at.offset..]
    }

    /// Where the text ends, seen from here.
    pub fn end(&self) -> Span {
        let mut end = self.clone();
        end.take_while(|_| true);
        end.at
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads one character.
    pub fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at.offset += c.len_utf8();
        if c == '\n' {
            self.at.line += 1;
            self.at.column = 1;
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    pub fn take_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
    }

    /// An error about the text from `start` to here.
    pub fn fault(&self, start: Span, message: &str) -> Error {
        Error::at(start.to(self.at), message)
    }

    fn token(&self, kind: Kind, start: Span) -> Token<'a> {
        Token { kind, span: start.to(self.at), text: self.since(start) }
    }

    fn line_comment(&mut self) {
        self.take_while(|c| c != '\n');
        self.note_end();
    }

    /// Called after what Vault's scanner reads until something else comes.
    fn note_end(&mut self) {
        if self.rest().is_empty() {
            self.past_end += 1;
        }
    }

    /// The rest of a `//` or `/* */` comment.
    fn comment(&mut self, start: Span) -> Result<(), Error> {
        match self.peek() {
            Some('/') => self.line_comment(),
            Some('*') => {
                self.bump();
                let Some(length) = self.rest().find("*/") else {
                    return Err(Error::at(start.to(Span { length: 2, ..start }), "comment not terminated")
                        .seen_at(self.end()));
                };
                let end = self.at.offset + length + 2;
                while self.at.offset < end {
                    self.bump();
                }
            }
            _ => return Err(self.fault(start, "expected '/' for comment")),
        }
        Ok(())
    }
}

/// Whether an identifier may start with `c`.
pub(super) fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

/// Whether `c` is a digit inside an identifier.
pub(super) fn is_digit(c: char) -> bool {
    c.is_numeric()
}
