//! Durations as Vault takes and prints them: Go's `1h30m`, plain seconds, and `d` for days.

use std::time::Duration;

use serde_json::Value;

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number with units.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit after one with a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// Days that are no whole number.
    #[error("strconv.ParseInt: parsing {0:?}: invalid syntax")]
    Days(String),
    /// A unit that isn't `ns us µs ms s m h`.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Below zero where that makes no sense; how many seconds.
    #[error("cannot provide negative value '-{0}'")]
    Negative(u64),
    /// Longer than Go's 64-bit nanoseconds hold (about 292 years).
    #[error("multiplication of durations resulted in overflow, one operand may be too large")]
    OutOfRange,
    /// Neither a number nor a string.
    #[error("could not parse duration from input")]
    WrongType,
}

/// Longest duration: `i64::MAX` nanoseconds.
const MAX: Duration = Duration::from_nanos(i64::MAX as u64);

/// Parses `90` (seconds), `1h30m`, `1.5h`, `2d`: whole days stand alone. Empty is zero.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    let negative = text.starts_with('-');
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let duration = if !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: i64 = body.parse().map_err(|_| DurationError::Invalid(text.to_owned()))?;
        whole(seconds.unsigned_abs(), 1)?
    } else if let Some(days) = body.strip_suffix('d') {
        let no_number = || DurationError::Days(text.trim_end_matches('d').to_owned());
        let days: u64 = if days.starts_with('+') { None } else { days.parse().ok() }.ok_or_else(no_number)?;
        whole(days, 86_400)?
    } else {
        parse_units(body, text)?
    };
    match duration.as_secs() {
        seconds if negative && seconds > 0 => Err(DurationError::Negative(seconds)),
        // As in Vault, which looks at whole seconds.
        _ if negative => Ok(Duration::ZERO),
        _ => Ok(duration),
    }
}

/// So many units of whole seconds.
fn whole(count: u64, unit: u64) -> Result<Duration, DurationError> {
    let seconds = count.checked_mul(unit).map(Duration::from_secs);
    seconds.filter(|duration| *duration <= MAX).ok_or(DurationError::OutOfRange)
}

fn parse_units(body: &str, text: &str) -> Result<Duration, DurationError> {
    let mut rest = body;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or_else(|| DurationError::MissingUnit(text.to_owned()))?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        if number.is_empty() {
            return Err(DurationError::Invalid(text.to_owned()));
        }
        let nanos =
            scaled(number, unit_nanos(unit, text)?).ok_or_else(|| DurationError::Invalid(text.to_owned()))?;
        total = u64::try_from(nanos)
            .ok()
            .and_then(|n| total.checked_add(Duration::from_nanos(n)))
            .filter(|d| *d <= MAX)
            .ok_or_else(|| DurationError::Invalid(text.to_owned()))?;
        rest = next;
    }
    if body.is_empty() {
        return Err(DurationError::Invalid(text.to_owned()));
    }
    Ok(total)
}

fn unit_nanos(unit: &str, text: &str) -> Result<u128, DurationError> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => {
            return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
        }
    })
}

/// A decimal number times a unit; `None` when it is no number. Saturates far above the range.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u128 = match whole {
        "" => 0,
        digits => digits.parse().unwrap_or(u128::from(u64::MAX)),
    };
    let fraction = &fraction[..fraction.len().min(15)];
    let part = match fraction {
        "" => 0,
        digits => digits.parse::<u128>().ok()? * unit / 10_u128.pow(digits.len() as u32),
    };
    Some(whole.saturating_mul(unit).saturating_add(part))
}

/// Parses a JSON number or string, both as [`parse`] does its text; null is zero.
pub fn parse_value(value: &Value) -> Result<Duration, DurationError> {
    match value {
        Value::Null => Ok(Duration::ZERO),
        Value::String(text) => parse(text),
        Value::Number(number) => parse(&number.to_string()),
        _ => Err(DurationError::WrongType),
    }
}

/// Prints a duration as Go does: `768h0m0s`, `1m30s`, `1.5s`, `200ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (limit, unit) in [(1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms")] {
        if nanos < limit {
            return decimal(nanos, limit / 1_000) + unit;
        }
    }
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, m) => format!("{m}m{rest}s"),
        (h, m) => format!("{h}h{m}m{rest}s"),
    }
}

/// Prints a duration as [`format()`] does, without units that are zero at the end: `768h`, `1m30s`.
pub fn format_short(duration: Duration) -> String {
    let mut text = format(duration);
    for (tail, kept) in [("m0s", 1), ("h0m", 1)] {
        if text.ends_with(tail) {
            text.truncate(text.len() - tail.len() + kept);
        }
    }
    text
}

/// `nanos / unit` with as many decimals as it needs.
fn decimal(nanos: u128, unit: u128) -> String {
    let (whole, part) = (nanos / unit, nanos % unit);
    if part == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{part:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_what_vault_takes() {
        for (text, seconds) in [
            ("90", 90.0),
            ("", 0.0),
            ("0", 0.0),
            ("1h30m", 5400.0),
            ("1.5h", 5400.0),
            ("2d", 172_800.0),
            ("200ms", 0.2),
            (".5s", 0.5),
            ("768h0m0s", 2_764_800.0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "abc",
            "h",
            "1x",
            "1h30",
            "1..5s",
            ".s",
            "-1",
            "-5m",
            "1 h",
            "99999999999999999999",
            "1e9h",
            "300000d",
            " 5s",
            "5s ",
            "+",
            "+-5",
            "-",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        for (text, told) in [
            ("300000d", "multiplication of durations resulted in overflow, one operand may be too large"),
            ("1y", "time: unknown unit \"y\" in duration \"1y\""),
            ("1d2h", "time: unknown unit \"d\" in duration \"1d2h\""),
            ("1h2d", "strconv.ParseInt: parsing \"1h2\": invalid syntax"),
            ("1.5", "time: missing unit in duration \"1.5\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
            ("-1h", "cannot provide negative value '-3600'"),
            ("-2d", "cannot provide negative value '-172800'"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), told);
        }
        assert_eq!(parse("-5ms"), Ok(Duration::ZERO));
    }

    #[test]
    fn values_may_be_numbers_or_strings() {
        assert_eq!(parse_value(&Value::from(60)), Ok(Duration::from_mins(1)));
        assert!(parse_value(&Value::from(1.9)).is_err());
        assert_eq!(parse_value(&Value::from("1m")), Ok(Duration::from_mins(1)));
        assert!(parse_value(&Value::from(-1)).is_err());
        assert!(parse_value(&Value::from(1e300)).is_err());
        assert!(parse_value(&Value::from(true)).is_err());
    }

    #[test]
    fn prints_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (200_000_000, "200ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (2_764_800_000_000_000, "768h0m0s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn short_form_drops_zeros_at_the_end() {
        for (seconds, text) in [
            (0, "0s"),
            (8, "8s"),
            (60, "1m"),
            (3600, "1h"),
            (3660, "1h1m"),
            (3605, "1h0m5s"),
            (43_199, "11h59m59s"),
        ] {
            assert_eq!(format_short(Duration::from_secs(seconds)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(nanos in 0..i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,20}") {
            let _ = parse(&text);
        }
    }
}
