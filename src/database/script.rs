//! Finding, in a text of several statements, the one the server stopped at.
//!
//! The server does the real splitting; this only has to find the place for the message.

use super::error::{ScriptError, shorten};
use crate::spec::model::SqlText;

/// Whose rules of quoting apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Mysql,
}

/// The error for the statement with this number, from 1.
pub(super) fn locate(script: &SqlText, dialect: Dialect, number: usize, message: String) -> ScriptError {
    let statements = split(&script.text, dialect);
    // The last one when the server counts more than are found here.
    let number = number.clamp(1, statements.len().max(1));
    let &(line, statement) = statements.get(number - 1).unwrap_or(&(1, ""));
    ScriptError { origin: script.origin.clone(), line, number, statement: shorten(statement), message }
}

/// The number, from 1, of the statement at a character position, from 1.
pub(super) fn number_at(text: &str, dialect: Dialect, position: usize) -> usize {
    let at = text.char_indices().nth(position.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    let begins = |statement: &str| statement.as_ptr() as usize - text.as_ptr() as usize;
    split(text, dialect).iter().filter(|(_, statement)| begins(statement) <= at).count()
}

/// The statements of a text, each with the line it begins in, from 1. Parts that hold nothing but
/// blanks and comments are none.
pub(super) fn split(text: &str, dialect: Dialect) -> Vec<(usize, &str)> {
    let bytes = text.as_bytes();
    let mut statements = Vec::new();
    let mut start = None;
    let mut body = Body::default();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if let Some(length) = comment(rest, dialect) {
            at += length;
            continue;
        }
        if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if bytes[at] == b';' && body.depth == 0 {
            statements.extend(start.take().map(|from| (from, at)));
            body = Body::default();
            at += 1;
            continue;
        }
        start.get_or_insert(at);
        let length = quoted(rest, dialect, at.checked_sub(1).map(|before| bytes[before]))
            .unwrap_or_else(|| word(rest));
        body.word(&text.as_bytes()[at..at + length], dialect);
        at += length;
    }
    statements.extend(start.map(|from| (from, text.trim_end().len())));
    statements
        .into_iter()
        .map(|(from, to)| (text[..from].matches('\n').count() + 1, &text[from..to]))
        .collect()
}

/// Length of the comment that begins here.
fn comment(rest: &[u8], dialect: Dialect) -> Option<usize> {
    let line = || rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    match (rest, dialect) {
        ([b'-', b'-', ..], Dialect::Postgres) | ([b'#', ..], Dialect::Mysql) => Some(line()),
        ([b'-', b'-'], Dialect::Mysql) => Some(2),
        ([b'-', b'-', next, ..], Dialect::Mysql) if next.is_ascii_whitespace() => Some(line()),
        // `/*! … */` is executed by MySQL.
        ([b'/', b'*', b'!', ..], Dialect::Mysql) => None,
        ([b'/', b'*', ..], _) => Some(block_comment(rest, dialect == Dialect::Postgres)),
        _ => None,
    }
}

fn block_comment(rest: &[u8], nests: bool) -> usize {
    let (mut at, mut depth) = (2, 1);
    while at < rest.len() && depth > 0 {
        if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else if nests && rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else {
            at += 1;
        }
    }
    at.min(rest.len())
}

/// Length of the quoted text that begins here; `before` is the byte before it.
fn quoted(rest: &[u8], dialect: Dialect, before: Option<u8>) -> Option<usize> {
    match rest[0] {
        quote @ (b'\'' | b'"' | b'`') => {
            let backslash = match dialect {
                Dialect::Mysql => quote != b'`',
                Dialect::Postgres => quote == b'\'' && matches!(before, Some(b'e' | b'E')),
            };
            let mut at = 1;
            while at < rest.len() {
                match rest[at] {
                    b'\\' if backslash => at += 2,
                    byte if byte == quote => return Some(at + 1),
                    _ => at += 1,
                }
            }
            Some(rest.len())
        }
        b'$' if dialect == Dialect::Postgres => {
            let tag = 2 + rest[1..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            if rest.get(tag - 1) != Some(&b'$') || rest[1].is_ascii_digit() {
                return None;
            }
            let end = rest[tag..].windows(tag).position(|window| *window == rest[..tag]);
            Some(end.map_or(rest.len(), |end| tag + end + tag))
        }
        _ => None,
    }
}

/// Length of the word, or single character, that begins here; never ends inside a character.
fn word(rest: &[u8]) -> usize {
    let letters =
        rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_' || !b.is_ascii()).count();
    // The `E` of `E'…'` stays a word of its own, and the quote is seen next.
    letters.max(1)
}

/// Follows `BEGIN … END` of stored programs, whose inner `;` end no statement of the text.
#[derive(Default)]
struct Body {
    words: usize,
    program: bool,
    depth: usize,
    after_end: bool,
}

impl Body {
    fn word(&mut self, word: &[u8], dialect: Dialect) {
        let word = word.to_ascii_uppercase();
        let first = self.words == 0;
        self.words += 1;
        if first {
            self.program = word == b"CREATE";
            return;
        }
        if !self.program {
            return;
        }
        let after_end = std::mem::take(&mut self.after_end);
        match word.as_slice() {
            // `END IF` and the like close what was never counted.
            b"IF" | b"LOOP" | b"WHILE" | b"REPEAT" if after_end => self.depth += 1,
            b"CASE" if after_end => {}
            b"BEGIN" => self.depth += 1,
            b"ATOMIC" if dialect == Dialect::Postgres => {}
            b"CASE" if self.depth > 0 => self.depth += 1,
            b"END" if self.depth > 0 => {
                self.depth -= 1;
                self.after_end = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str, dialect: Dialect) -> Vec<(usize, &str)> {
        split(text, dialect)
    }

    #[test]
    fn comments_and_quotes_hide_semicolons() {
        let text = "-- a; b\nSELECT ';', \"x;\" /* ; /* ; */ */;\n\n;SELECT $f$ ; $f$, E'\\';' ; -- end;";
        assert_eq!(
            texts(text, Dialect::Postgres),
            [(2, "SELECT ';', \"x;\" /* ; /* ; */ */"), (4, "SELECT $f$ ; $f$, E'\\';' ")]
        );
        let text = "# a;\nSELECT 'it''s\\';', `;`; SELECT 5--1; /*!40101 SET x=1 */;";
        assert_eq!(
            texts(text, Dialect::Mysql),
            [(2, "SELECT 'it''s\\';', `;`"), (2, "SELECT 5--1"), (2, "/*!40101 SET x=1 */")]
        );
    }

    #[test]
    fn stored_programs_are_one_statement() {
        let text = "CREATE PROCEDURE p() BEGIN IF a THEN SELECT 1; END IF; SELECT CASE WHEN 1 THEN 2 END; \
                    CASE x WHEN 1 THEN SELECT 3; END CASE; END;\nSELECT 2";
        let found = texts(text, Dialect::Mysql);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[1], (2, "SELECT 2"));
        let text =
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; BEGIN; SELECT 3; END;";
        assert_eq!(texts(text, Dialect::Postgres).len(), 4);
    }

    #[test]
    fn the_failing_statement_is_named_with_its_line() {
        let script = SqlText { origin: "seed.sql".into(), text: "A;\n-- c\nB\nc;\nD".into() };
        let error = locate(&script, Dialect::Postgres, 2, "no".into());
        assert_eq!((error.line, error.number, error.statement.as_str()), (3, 2, "B c"));
        assert_eq!(locate(&script, Dialect::Postgres, 9, "no".into()).statement, "D");
        assert!(error.to_string().starts_with("seed.sql:3: statement 2 failed: no"));
    }

    #[test]
    fn a_position_is_in_a_statement() {
        let text = "SELECT 'é;';\nSELECT 2;\n\nSELECT 3";
        let number = |part: &str| {
            let at = text[..text.find(part).unwrap()].chars().count() + 1;
            number_at(text, Dialect::Postgres, at)
        };
        assert_eq!(["é", "2", "3"].map(number), [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn any_text_is_split_into_parts_of_itself(text in "\\PC{0,80}|[-'\"`$;/*#E\\\\a \n]{0,60}") {
            for dialect in [Dialect::Postgres, Dialect::Mysql] {
                for (line, part) in split(&text, dialect) {
                    prop_assert!(text.contains(part) && line <= text.matches('\n').count() + 1);
                }
            }
        }
    }
}
