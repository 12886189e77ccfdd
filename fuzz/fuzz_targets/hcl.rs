//! Any text is read or refused, and every position lies in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaultlab_server::hcl::{self, Body, Span, Value, ValueKind};

fuzz_target!(|source: &str| match hcl::parse(source) {
    Ok(body) => check_body(&body, source),
    Err(error) => check(error.span(), source),
});

fn check(span: Span, source: &str) {
    assert!(source.get(span.offset..span.offset + span.length).is_some(), "{span:?} is outside");
    assert!(span.line >= 1 && span.column >= 1);
}

fn check_body(body: &Body, source: &str) {
    check(body.span, source);
    for item in &body.items {
        assert!(!item.keys.is_empty());
        item.keys.iter().for_each(|key| check(key.span, source));
        check_value(&item.value, source);
    }
}

fn check_value(value: &Value, source: &str) {
    check(value.span, source);
    match &value.kind {
        ValueKind::Object(body) => check_body(body, source),
        ValueKind::List(values) => values.iter().for_each(|value| check_value(value, source)),
        _ => {}
    }
}
