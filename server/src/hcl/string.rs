//! Quoted strings with escapes and interpolation, and heredocs.

use super::lexer::{Lexer, Token, is_digit, is_letter};
use super::{Error, Span};

/// Scans a quoted string whose opening quote has been read.
///
/// Inside `${ … }` quotes and line breaks do not end the string.
pub(super) fn scan_quoted(lexer: &mut Lexer<'_>) -> Result<(), Error> {
    let mut braces = 0_usize;
    loop {
        let at = lexer.here();
        match lexer.bump() {
            None => return Err(lexer.fault(at, "literal not terminated")),
            Some('\n') if braces == 0 => {
                return Err(Error::at(at, "literal not terminated"));
            }
            Some('"') if braces == 0 => return Ok(()),
            Some('$') if braces == 0 && lexer.peek() == Some('{') => {
                lexer.bump();
                braces = 1;
            }
            Some('{') if braces > 0 => braces += 1,
            Some('}') if braces > 0 => braces -= 1,
            Some('\\') => scan_escape(lexer, at)?,
            Some(_) => {}
        }
    }
}

/// Checks the escape sequence after a backslash.
fn scan_escape(lexer: &mut Lexer<'_>, at: Span) -> Result<(), Error> {
    let letter_at = lexer.here();
    let (digits, radix) = match lexer.bump() {
        Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | '"') => return Ok(()),
        Some('0'..='7') => (2, 8),
        Some('x') => (2, 16),
        Some('u') => (4, 16),
        Some('U') => (8, 16),
        _ => return Err(lexer.fault(at, "illegal char escape").seen_at(letter_at)),
    };
    for _ in 0..digits {
        if !lexer.peek().is_some_and(|c| c.is_digit(radix)) {
            return Err(lexer.fault(at, "illegal char escape").seen_at(lexer.here()));
        }
        lexer.bump();
    }
    Ok(())
}

/// The text of a quoted string token: escapes resolved, `${ … }` kept as written.
pub(super) fn unquote(token: &Token<'_>) -> Result<String, Error> {
    let fault = || Error::at(token.span, "invalid string: bad escape or interpolation");
    let inner = token.text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(fault)?;
    if !inner.contains(['\\', '$']) {
        return Ok(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("${") {
            let end = interpolation_end(rest).ok_or_else(fault)?;
            bytes.extend_from_slice(&rest.as_bytes()[..end]);
            rest = &rest[end..];
        } else if c == '\\' {
            rest = unescape(&rest[1..], &mut bytes).ok_or_else(fault)?;
        } else {
            bytes.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
            rest = &rest[c.len_utf8()..];
        }
    }
    // `\xff` makes a single byte, so the result need not be text.
    String::from_utf8(bytes).map_err(|_| Error::at(token.span, "string is not valid UTF-8"))
}

/// The length of a leading `${ … }`, nested braces counted.
fn interpolation_end(text: &str) -> Option<usize> {
    let mut braces = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Resolves the escape that `text` starts with (after the backslash) and gives
/// what follows it.
fn unescape<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let c = text.chars().next()?;
    let rest = &text[c.len_utf8()..];
    let simple = match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        '0'..='7' => {
            out.push(u8::from_str_radix(text.get(..3)?, 8).ok()?);
            return text.get(3..);
        }
        'x' => {
            out.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
            return rest.get(2..);
        }
        'u' | 'U' => {
            let length = if c == 'u' { 4 } else { 8 };
            let code = u32::from_str_radix(rest.get(..length)?, 16).ok()?;
            // Go writes a lone surrogate as the replacement character.
            let c = match code {
                0xd800..=0xdfff => char::REPLACEMENT_CHARACTER,
                _ => char::from_u32(code)?,
            };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return rest.get(length..);
        }
        _ => return None,
    };
    out.push(simple);
    Some(rest)
}

/// Scans a heredoc whose first `<` has been read, up to the line break after
/// its end marker.
pub(super) fn scan_heredoc(lexer: &mut Lexer<'_>) -> Result<(), Error> {
    let at = lexer.here();
    if lexer.bump() != Some('<') {
        return Err(lexer.fault(at, "heredoc expected second '<', didn't see it"));
    }
    let indented = lexer.peek() == Some('-');
    if indented {
        lexer.bump();
    }
    let anchor_at = lexer.here();
    lexer.take_while(|c| is_letter(c) || is_digit(c));
    let anchor = lexer.since(anchor_at);
    if lexer.rest().starts_with("\r\n") {
        lexer.bump();
    }
    let line_end = lexer.here();
    match lexer.bump() {
        Some('\n') => {}
        None => return Err(unterminated(lexer, anchor_at, anchor)),
        Some(_) => return Err(lexer.fault(line_end, "invalid characters in heredoc anchor")),
    }
    if anchor.is_empty() {
        return Err(Error::at(anchor_at, "zero-length heredoc anchor").seen_at(line_end));
    }
    loop {
        let line_at = lexer.here();
        lexer.take_while(|c| c != '\n');
        let line = lexer.since(line_at);
        if lexer.bump().is_none() {
            return Err(unterminated(lexer, anchor_at, anchor));
        }
        // Vault compares lengths with the `-` of `<<-EOF` counted: there the end marker
        // must have a space before it.
        let long_enough = line.len() >= anchor.len() + usize::from(indented);
        if long_enough && is_anchor(line, anchor) {
            return Ok(());
        }
    }
}

fn unterminated(lexer: &Lexer<'_>, anchor_at: Span, anchor: &str) -> Error {
    let span = Span { length: anchor.len(), ..anchor_at };
    Error::at(span, "heredoc not terminated").seen_at(lexer.here())
}

/// Whether `line` ends the heredoc: only white space before the anchor.
fn is_anchor(line: &str, anchor: &str) -> bool {
    line.trim_end_matches('\r').strip_suffix(anchor).is_some_and(|indent| indent.chars().all(is_space))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c')
}

/// The text of a heredoc token; `<<-` takes away the end marker's indentation
/// if every line has it. Windows line ends become plain ones, as in Vault.
pub(super) fn heredoc_text(token: &Token<'_>) -> String {
    let text = token.text.replace("\r\n", "\n");
    let (opening, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let body = rest.strip_suffix('\n').unwrap_or(rest);
    let (body, last) = match body.rsplit_once('\n') {
        Some((body, last)) => (&rest[..=body.len()], last),
        None => ("", body),
    };
    let indent = &last[..last.len() - last.trim_start_matches(is_space).len()];
    if !opening.starts_with("<<-") {
        return format!("{body}{indent}");
    }
    let lines = || body.split_inclusive('\n');
    if lines().all(|line| line.starts_with(indent)) {
        lines().map(|line| &line[indent.len()..]).collect()
    } else {
        body.to_owned()
    }
}
