//! Just enough of SQL's surface to handle it as Vault and the servers do: where comments, quotes
//! and dollar quotes begin and end.

use std::borrow::Cow;

use super::model::Engine;

/// What a stretch of SQL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything else.
    Code,
    /// A comment that the server ignores.
    Comment,
    /// A quoted string or name, quotes included.
    Quoted,
    /// A dollar-quoted string of PostgreSQL.
    Dollar,
    /// A quote or comment that never ends.
    Open,
}

/// Splits a text into stretches; together they are the text.
pub(super) fn pieces(text: &str, engine: Engine) -> Vec<(Kind, &str)> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        match special(rest, &text[..at], engine) {
            Some((kind, len)) => {
                if start < at {
                    pieces.push((Kind::Code, &text[start..at]));
                }
                pieces.push((kind, &rest[..len]));
                at += len;
                start = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    if start < text.len() {
        pieces.push((Kind::Code, &text[start..]));
    }
    pieces
}

/// The comment or quote that begins here, and its length in bytes.
fn special(rest: &str, before: &str, engine: Engine) -> Option<(Kind, usize)> {
    let postgres = engine == Engine::Postgres;
    let first = rest.chars().next()?;
    match first {
        '-' if rest.starts_with("--") => {
            // MySQL wants a blank or the end of the line after the two dashes.
            let third = rest[2..].chars().next();
            let comment = postgres || third.is_none_or(char::is_whitespace);
            comment.then(|| (Kind::Comment, line_end(rest)))
        }
        '#' if !postgres => Some((Kind::Comment, line_end(rest))),
        '/' if rest.starts_with("/*") => {
            let executed = ["/*!", "/*M!", "/*+"].iter().any(|mark| rest.starts_with(mark));
            if executed && !postgres { None } else { Some(block_comment(rest, postgres)) }
        }
        '\'' => {
            let escape_string = before.ends_with(['e', 'E'])
                && !before[..before.len() - 1].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            Some(quoted(rest, '\'', !postgres || escape_string))
        }
        '"' => Some(quoted(rest, '"', !postgres)),
        '`' if !postgres => Some(quoted(rest, '`', false)),
        '$' if postgres && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_') => {
            dollar_quoted(rest)
        }
        _ => None,
    }
}

fn line_end(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

/// PostgreSQL's block comments nest, MySQL's don't.
fn block_comment(rest: &str, nested: bool) -> (Kind, usize) {
    let mut depth = 1_usize;
    let mut at = 2;
    while let Some(step) = rest.get(at..).and_then(|tail| tail.find(['*', '/'])) {
        at += step;
        if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return (Kind::Comment, at);
            }
        } else if nested && rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else {
            at += 1;
        }
    }
    (Kind::Open, rest.len())
}

/// A doubled quote closes one stretch and opens the next, which comes to the same.
fn quoted(rest: &str, quote: char, backslash: bool) -> (Kind, usize) {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' && backslash {
            chars.next();
        } else if c == quote {
            return (Kind::Quoted, at + 1);
        }
    }
    (Kind::Open, rest.len())
}

fn dollar_quoted(rest: &str) -> Option<(Kind, usize)> {
    let tag_len = rest[1..].find('$')? + 2;
    let tag = &rest[..tag_len];
    let name = &tag[1..tag_len - 1];
    let valid = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    valid.then(|| match rest[tag_len..].find(tag) {
        Some(end) => (Kind::Dollar, tag_len + end + tag_len),
        None => (Kind::Open, rest.len()),
    })
}

/// The text without comments and blank lines: Vault splits statements at every `;`, one in a comment
/// too, and MySQL refuses a statement that is only a comment.
pub(super) fn strip_comments(text: &str, engine: Engine) -> String {
    let kept: String = pieces(text, engine)
        .into_iter()
        .map(|(kind, piece)| match kind {
            Kind::Comment => " ".to_owned(),
            // A dollar-quoted block is code to its language, with comments of its own.
            Kind::Dollar => strip_dollar_body(piece, engine),
            _ => piece.to_owned(),
        })
        .collect();
    let lines = kept.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

fn strip_dollar_body(piece: &str, engine: Engine) -> String {
    let tag_len = piece[1..].find('$').map_or(0, |at| at + 2);
    let body = &piece[tag_len..piece.len() - tag_len];
    let kept: String = pieces(body, engine)
        .into_iter()
        .map(|(kind, text)| if kind == Kind::Comment { " " } else { text })
        .collect();
    let tag = &piece[..tag_len];
    format!("{tag}{kept}{tag}")
}

/// Whether anything is left for a server to do.
pub(super) fn is_blank(text: &str, engine: Engine) -> bool {
    strip_comments(text, engine).chars().all(|c| c.is_whitespace() || c == ';')
}

/// Whether Vault hands a PostgreSQL text to the server as it is instead of splitting it at `;`:
/// if the word `END` is in it, outside of quotes.
pub(super) fn runs_whole(text: &str) -> bool {
    pieces(text, Engine::Postgres)
        .iter()
        .filter(|(kind, _)| *kind != Kind::Quoted)
        .flat_map(|(_, piece)| piece.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .any(|word| word == "END")
}

/// A MySQL script without the command-line client's `DELIMITER` lines: the server finds the end of
/// a routine's body by itself.
pub(super) fn resolve_delimiters(text: &str, engine: Engine) -> Cow<'_, str> {
    let upper = text.to_ascii_uppercase();
    if engine == Engine::Postgres || !upper.contains("DELIMITER") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut delimiter = ";".to_owned();
    let mut rest = text;
    while !rest.is_empty() {
        // Directives stand on lines of their own, outside of quotes and comments.
        let at_line_start = out.is_empty() || out.ends_with('\n');
        if at_line_start && let Some((new, len)) = delimiter_line(rest) {
            delimiter = new;
            // The line stays, empty, so that messages about later lines point right.
            out.push('\n');
            rest = &rest[len..];
            continue;
        }
        if delimiter != ";" && rest.starts_with(&delimiter) {
            out.push(';');
            rest = &rest[delimiter.len()..];
            continue;
        }
        let len = match special(rest, "", engine) {
            Some((_, len)) => len,
            None => rest.chars().next().map_or(1, char::len_utf8),
        };
        out.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    Cow::Owned(out)
}

/// The delimiter that the line at the start of `text` sets, and the line's length with its end.
fn delimiter_line(text: &str) -> Option<(String, usize)> {
    let end = line_end(text);
    let mut words = text[..end].split_whitespace();
    let directive = words.next()?.eq_ignore_ascii_case("delimiter");
    let new = words.next().filter(|_| directive)?;
    Some((new.to_owned(), (end + 1).min(text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::model::MysqlFlavour;
    use proptest::prelude::*;

    const MYSQL: Engine = Engine::Mysql(MysqlFlavour::Auto);

    #[test]
    fn finds_quotes_and_comments_of_postgresql() {
        let text = "SELECT 'a;''b' -- c;\n, \"d;\" /* e /* f */ ; */, $x$ ; $x$, E'\\';', $1";
        let kinds: Vec<_> =
            pieces(text, Engine::Postgres).into_iter().filter(|(kind, _)| *kind != Kind::Code).collect();
        assert_eq!(
            kinds,
            [
                (Kind::Quoted, "'a;'"),
                (Kind::Quoted, "'b'"),
                (Kind::Comment, "-- c;"),
                (Kind::Quoted, "\"d;\""),
                (Kind::Comment, "/* e /* f */ ; */"),
                (Kind::Dollar, "$x$ ; $x$"),
                (Kind::Quoted, "'\\';'"),
            ]
        );
    }

    #[test]
    fn finds_quotes_and_comments_of_mysql() {
        let text = "SELECT 'a\\';' # b;\n, `c;` --d\n /* e /* f */ /*! KILL 1 */ -- g";
        let kinds: Vec<_> = pieces(text, MYSQL).into_iter().filter(|(kind, _)| *kind != Kind::Code).collect();
        assert_eq!(
            kinds,
            [
                (Kind::Quoted, "'a\\';'"),
                (Kind::Comment, "# b;"),
                (Kind::Quoted, "`c;`"),
                (Kind::Comment, "/* e /* f */"),
                (Kind::Comment, "-- g"),
            ]
        );
    }

    #[test]
    fn unterminated_quotes_are_open() {
        for text in ["'a", "\"a", "/* a", "$a$ b $c$"] {
            assert_eq!(pieces(text, Engine::Postgres), [(Kind::Open, text)]);
        }
        assert_eq!(pieces("`a", MYSQL), [(Kind::Open, "`a")]);
    }

    #[test]
    fn strips_comments_but_not_what_looks_like_one() {
        let text = "-- one; two\nDROP USER '--x' /* y */;\n\nDO $$ BEGIN\n -- it's\n END $$;";
        let stripped = strip_comments(text, Engine::Postgres);
        assert_eq!(stripped, "DROP USER '--x'  ;\nDO $$ BEGIN\n END $$;");
        assert_eq!(strip_comments("/*!50000 DO 1 */", MYSQL), "/*!50000 DO 1 */");
        assert!(is_blank("-- nothing\n;", Engine::Postgres));
        assert!(!is_blank("/*! DO 1 */", MYSQL));
    }

    #[test]
    fn end_outside_quotes_runs_whole() {
        assert!(runs_whole("DO $$ BEGIN NULL; END $$;"));
        assert!(!runs_whole("SELECT ' END '; DROP TABLE \"END\""));
        assert!(!runs_whole("SELECT end_sessions(); -- BACKEND"));
    }

    #[test]
    fn resolves_delimiters() {
        let text = "DELIMITER $$\nCREATE PROCEDURE p() BEGIN SELECT '$$'; END$$\ndelimiter ;\nSELECT 1;\n";
        assert_eq!(
            resolve_delimiters(text, MYSQL),
            "\nCREATE PROCEDURE p() BEGIN SELECT '$$'; END;\n\nSELECT 1;\n"
        );
        assert_eq!(resolve_delimiters(text, Engine::Postgres), text);
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in "[a-zA-Z $'\"`\\\\;/*\\-#\n!é]{0,60}") {
            for engine in [Engine::Postgres, MYSQL] {
                let joined: String = pieces(&text, engine).iter().map(|(_, piece)| *piece).collect();
                prop_assert_eq!(&joined, &text);
                strip_comments(&text, engine);
                resolve_delimiters(&text, engine);
            }
            runs_whole(&text);
        }
    }
}
