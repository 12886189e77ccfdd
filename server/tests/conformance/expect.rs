//! Comparing an answer with the expected one: whole shapes, every key and value.
//!
//! An expected text may hold placeholders, each for a value that differs from run to run: `<uuid>`,
//! `<time>` (RFC 3339), `<token>`, `<id>` (24 characters in base 62), `<accessor>` (of a mount), `<hex>`,
//! `<pem>`, `<serial>`, `<user>`, `<*>` for any text; `<int>` for a number, `<ttl N>` for a number of seconds
//! counted down from N, `<any>` for anything. A key that ends in ` @old` or ` @new` belongs to the answers of
//! versions before 1.14 or since only, ` @v1.10` to those since 1.10 and ` @v1.9` to those before, ` @now` to
//! those of real servers of today, ` @bao` and ` @vault` to OpenBao's or
//! to all others. What an envelope holds when it has nothing to say may be left out.

use serde_json::{Map, Value, json};

use super::level::level;
use super::script::{Expected, Flavour};

/// What differs, one line each.
pub fn differences(flavour: Flavour, expected: &Expected, status: u16, body: Option<&Value>) -> Vec<String> {
    if status != expected.status {
        let body = body.map(Value::to_string).unwrap_or_default();
        return vec![format!("status {status}, not {}: {body}", expected.status)];
    }
    let mut found = Vec::new();
    match (&expected.body, body) {
        (None, None) => {}
        (None, Some(body)) => found.push(format!("an empty body was expected, not {body}")),
        (Some(expected), None) => found.push(format!("no body, not {expected}")),
        (Some(expected), Some(body)) => {
            let (mut expected, mut body) = (of_flavour(expected, flavour), body.clone());
            if body.get("request_id").is_some() {
                open_envelope(flavour, &mut body, &mut found);
            }
            level(flavour, &mut expected, &mut body);
            compare("", &expected, &body, &mut found);
        }
    }
    found
}

/// Without the keys of other versions, and without the marks.
fn of_flavour(value: &Value, flavour: Flavour) -> Value {
    match value {
        Value::Object(map) => {
            let mut kept = Map::new();
            for (key, value) in map {
                let mut parts = key.split(" @");
                let key = parts.next().unwrap_or_default();
                if parts.all(|mark| has_mark(mark, flavour)) {
                    kept.insert(key.to_owned(), of_flavour(value, flavour));
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(|item| of_flavour(item, flavour)).collect(),
        other => other.clone(),
    }
}

fn has_mark(mark: &str, flavour: Flavour) -> bool {
    match mark {
        "old" => flavour.is_old(),
        "new" => !flavour.is_old(),
        "v1.9" => matches!(flavour, Flavour::Vault(minor) if minor < 10),
        "v1.10" => !matches!(flavour, Flavour::Vault(minor) if minor < 10),
        // Real ones, as they are today.
        "now" => flavour == Flavour::Bao || matches!(flavour, Flavour::Vault(minor) if minor >= 14),
        "bao" => flavour == Flavour::Bao,
        "vault" => flavour != Flavour::Bao,
        other => panic!("{other:?} marks no flavour"),
    }
}

/// Checks that an envelope is complete, and leaves what says something. Of an answer that repeats its data
/// at top level, as those of `sys/mounts` do, `data` remains.
fn open_envelope(flavour: Flavour, body: &mut Value, found: &mut Vec<String>) {
    let Some(map) = body.as_object_mut() else { return };
    let defaults = json!({
        "lease_id": "", "renewable": false, "lease_duration": 0, "data": null, "wrap_info": null,
        "warnings": null, "auth": null,
    });
    for (key, default) in defaults.as_object().unwrap() {
        match map.get(key) {
            None => found.push(format!("the envelope has no {key:?}")),
            Some(value) if value == default => {
                map.remove(key);
            }
            Some(_) => {}
        }
    }
    map.remove("request_id");
    // Vault since 1.17 and the embedded server tell the type of the mount.
    if map.remove("mount_type").is_none() && flavour == Flavour::Embedded {
        found.push("the envelope has no \"mount_type\"".to_owned());
    }
    if let Some(Value::Object(data)) = map.get("data").cloned() {
        let own = |key: &String| key == "data" || defaults.get(key).is_some();
        if data.keys().any(|key| !own(key) && map.contains_key(key)) {
            for (key, value) in &data {
                if map.get(key) != Some(value) {
                    found.push(format!("{key:?} is not repeated at top level"));
                }
                map.remove(key);
            }
        }
    }
}

fn compare(at: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, value) in expected {
                match actual.iter().find(|(other, _)| glob(key, other)) {
                    Some((_, other)) => compare(&format!("{at}.{key}"), value, other, found),
                    None => found.push(format!("{at}.{key} is missing; expected {value}")),
                }
            }
            for (key, value) in actual {
                if !expected.keys().any(|other| glob(other, key)) {
                    found.push(format!("{at}.{key} is not expected: {value}"));
                }
            }
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            for (i, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                compare(&format!("{at}[{i}]"), expected, actual, found);
            }
        }
        (Value::String(pattern), actual) => {
            let fits = match actual {
                _ if pattern == "<any>" => true,
                Value::String(text) => glob(pattern, text),
                Value::Number(number) => is_number(pattern, number.as_f64()),
                _ => false,
            };
            if !fits {
                found.push(format!("{at} is {actual}, not {expected}"));
            }
        }
        _ if expected == actual => {}
        _ => found.push(format!("{at} is {actual}, not {expected}")),
    }
}

fn is_number(pattern: &str, number: Option<f64>) -> bool {
    let number = number.unwrap_or(f64::NAN);
    let Some(from) = pattern.strip_prefix("<ttl ").and_then(|rest| rest.strip_suffix('>')) else {
        return pattern == "<int>" && number.fract() == 0.0;
    };
    // A slow machine may take its time between two requests.
    let from: f64 = from.parse().unwrap();
    number <= from && number > from - 60.0 && number >= 0.0
}

/// Whether a text fits a pattern with placeholders.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((before, kind, after)) = first_placeholder(pattern) else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(before) else {
        return false;
    };
    let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.into_iter().any(|end| is_kind(kind, &rest[..end]) && glob(after, &rest[end..]))
}

const KINDS: [&str; 10] = ["uuid", "time", "token", "id", "accessor", "hex", "pem", "serial", "user", "*"];

fn first_placeholder(pattern: &str) -> Option<(&str, &str, &str)> {
    for (start, _) in pattern.match_indices('<') {
        if let Some(length) = pattern[start..].find('>') {
            let kind = &pattern[start + 1..start + length];
            if KINDS.contains(&kind) {
                return Some((&pattern[..start], kind, &pattern[start + length + 1..]));
            }
        }
    }
    None
}

fn is_kind(kind: &str, text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match kind {
        "uuid" => {
            let lengths: Vec<usize> = text.split('-').map(str::len).collect();
            lengths == [8, 4, 4, 4, 12] && hex(&text.replace('-', ""))
        }
        "time" => text.parse::<jiff::Timestamp>().is_ok(),
        "token" => {
            let body = text.strip_prefix("hvs.").or_else(|| text.strip_prefix("s."));
            body.is_some_and(|body| body.len() >= 24)
        }
        "id" => text.len() == 24 && word(text),
        "accessor" => text.rsplit_once('_').is_some_and(|(_, tail)| tail.len() == 8 && hex(tail)),
        "hex" => text.len() >= 8 && hex(text),
        "pem" => text.starts_with("-----BEGIN ") && text.trim_end().ends_with("-----"),
        "serial" => text.split([':', '-']).all(|byte| byte.len() == 2 && hex(byte)) && text.len() > 40,
        "user" => text.starts_with("v-") && text.len() <= 63,
        _ => !text.is_empty(),
    }
}

#[test]
fn patterns_fit_what_they_should() {
    for (pattern, text, fits) in [
        ("a", "a", true),
        ("database/creds/app/<id>", "database/creds/app/0123456789abcdefABCDEFGH", true),
        ("database/creds/app/<id>", "database/creds/app/0123", false),
        ("<uuid>", "7f1c2f0e-9a1b-4c3d-8e5f-0123456789ab", true),
        ("<uuid>", "7f1c2f0e", false),
        ("issued <time>!", "issued 2026-01-02T03:04:05.678Z!", true),
        ("<token>", "hvs.0123456789abcdefABCDEFGH", true),
        ("<*> and <*>", "x and y", true),
        ("a<b", "a<b", true),
    ] {
        assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
    }
    assert!(is_number("<ttl 60>", Some(59.0)) && !is_number("<ttl 60>", Some(61.0)));
}

#[test]
fn every_difference_is_told() {
    let expected =
        Expected { status: 200, body: Some(json!({"data": {"a": 1, "b @old": 2, "c @new": "<int>"}})) };
    let body = |data: Value| {
        json!({"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data,
            "wrap_info": null, "warnings": null, "auth": null, "mount_type": "kv"})
    };
    let tell = |flavour, body: &Value| differences(flavour, &expected, 200, Some(body));
    assert_eq!(tell(Flavour::Embedded, &body(json!({"a": 1, "c": 3}))), Vec::<String>::new());
    assert_eq!(tell(Flavour::Vault(8), &body(json!({"a": 1, "b": 2}))), Vec::<String>::new());
    assert_eq!(tell(Flavour::Embedded, &body(json!({"a": 2, "d": 1}))).len(), 3);
    assert_eq!(differences(Flavour::Vault(8), &expected, 404, None).len(), 1);
    let mut warned = body(json!({"a": 1, "c": 3}));
    warned["warnings"] = json!(["w"]);
    assert_eq!(tell(Flavour::Embedded, &warned).len(), 1);
}
