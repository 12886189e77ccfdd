//! Numbers: decimal, octal, hexadecimal, with fraction and exponent.

use super::lexer::{Kind, Lexer, Token};
use super::{Error, Span, ValueKind};

/// Scans a number whose first digit (and sign) has been read.
pub(super) fn scan(lexer: &mut Lexer<'_>, start: Span) -> Result<Kind, Error> {
    if lexer.since(start).ends_with('0') && matches!(lexer.peek(), Some('x' | 'X')) {
        lexer.bump();
        let digits = lexer.here();
        lexer.take_while(|c| c.is_ascii_hexdigit());
        if lexer.since(digits).is_empty() {
            return Err(lexer.fault(start, "illegal hexadecimal number").seen_at(lexer.here()));
        }
        return Ok(Kind::Number);
    }
    lexer.take_while(|c| c.is_ascii_digit());
    match lexer.peek() {
        Some('e' | 'E') => scan_exponent(lexer),
        Some('.') => {
            lexer.bump();
            scan_fraction(lexer);
        }
        _ => {
            let digits = lexer.since(start).trim_start_matches('-');
            if digits.len() > 1 && digits.starts_with('0') && digits.contains(['8', '9']) {
                return Err(lexer.fault(start, "illegal octal number").seen_at(lexer.here()));
            }
            return Ok(Kind::Number);
        }
    }
    Ok(Kind::Float)
}

/// Scans the digits after a `.`, and an exponent.
pub(super) fn scan_fraction(lexer: &mut Lexer<'_>) {
    lexer.take_while(|c| c.is_ascii_digit());
    if matches!(lexer.peek(), Some('e' | 'E')) {
        scan_exponent(lexer);
    }
}

fn scan_exponent(lexer: &mut Lexer<'_>) {
    lexer.bump();
    if matches!(lexer.peek(), Some('+' | '-')) {
        lexer.bump();
    }
    lexer.take_while(|c| c.is_ascii_digit());
}

/// The value of a number token.
pub(super) fn value(token: &Token<'_>) -> Result<ValueKind, Error> {
    let text = token.text;
    let parsed = if token.kind == Kind::Float {
        text.parse().ok().filter(|f: &f64| f.is_finite()).map(ValueKind::Float)
    } else {
        integer(text).map(|value| ValueKind::Number { value, text: text.to_owned() })
    };
    parsed.ok_or_else(|| Error::at(token.span, format!("number out of range: {text}")))
}

/// A whole number as Go's `strconv.ParseInt(text, 0, 64)` reads it.
pub(super) fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1_i128, digits),
        None => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let magnitude = if let Some(hex) = lower.strip_prefix("0x") {
        i128::from_str_radix(hex, 16)
    } else if lower.len() > 1 && lower.starts_with('0') {
        i128::from_str_radix(&lower, 8)
    } else {
        lower.parse()
    };
    i64::try_from(sign * magnitude.ok()?).ok()
}
