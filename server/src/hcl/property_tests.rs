use proptest::prelude::*;

use super::{Body, Item, Key, Span, Value, ValueKind, parse};

/// Writes a document so that [`parse`] must give it back.
fn print(body: &Body, out: &mut String) {
    for item in &body.items {
        for key in &item.keys {
            print_string(&key.name, out);
            out.push(' ');
        }
        if item.assign.is_some() {
            out.push_str("= ");
        }
        print_value(&item.value, out);
        out.push('\n');
    }
}

fn print_value(value: &Value, out: &mut String) {
    match &value.kind {
        ValueKind::String(text) => print_string(text, out),
        ValueKind::Number { text, .. } => out.push_str(text),
        ValueKind::Float(number) => out.push_str(&number.to_string()),
        ValueKind::Bool(flag) => out.push_str(&flag.to_string()),
        ValueKind::List(values) => {
            out.push('[');
            for value in values {
                print_value(value, out);
                out.push_str(", ");
            }
            out.push(']');
        }
        ValueKind::Object(body) => {
            out.push_str("{\n");
            print(body, out);
            out.push('}');
        }
    }
}

fn print_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            // A bare `${` would start an interpolation.
            '$' => out.push_str("\\x24"),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn value(kind: ValueKind) -> Value {
    Value { kind, span: Span::START }
}

fn text() -> impl Strategy<Value = String> {
    "[a-z\"\\\\\n${}é/*+ ]{0,8}"
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(ValueKind::String),
        any::<i64>().prop_map(|value| ValueKind::Number { value, text: value.to_string() }),
        any::<bool>().prop_map(ValueKind::Bool),
        (-1e9..1e9).prop_map(ValueKind::Float),
    ]
    .prop_map(value)
}

fn item(inner: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Item> {
    (prop::collection::vec(text(), 1..3), inner).prop_map(|(names, value)| {
        let is_object = matches!(value.kind, ValueKind::Object(_));
        let keys: Vec<_> = names
            .into_iter()
            .take(if is_object { 2 } else { 1 })
            .map(|name| Key { name, span: Span::START })
            .collect();
        let assign = (!is_object).then_some(Span::START);
        Item { keys, assign, value }
    })
}

fn body(items: Vec<Item>) -> Body {
    Body { items, span: Span::START }
}

fn document() -> impl Strategy<Value = Body> {
    let values = leaf().prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| value(ValueKind::List(values))),
            prop::collection::vec(item(inner), 0..4).prop_map(|items| value(ValueKind::Object(body(items)))),
        ]
    });
    prop::collection::vec(item(values), 0..5).prop_map(body)
}

/// The document without positions.
fn bare(body: &Body) -> String {
    let mut out = String::new();
    print(body, &mut out);
    out
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(source in any::<String>()) {
        if let Err(error) = parse(&source) {
            let span = error.span();
            prop_assert!(span.offset + span.length <= source.len());
            prop_assert!(source.is_char_boundary(span.offset));
        }
    }

    #[test]
    fn hcl_like_text_never_panics(
        source in r#"([a-z]{1,3}|"[^"]{0,4}"|[{}\[\],=#<$\\."-]|<<-?E\n|E\n|\$\{|\n|0x|-?[0-9]{1,3}|//|/\*|\*/| ){0,40}"#,
        json in any::<bool>(),
    ) {
        let source = if json { format!("{{{source}") } else { source };
        if let Err(error) = parse(&source) {
            let span = error.span();
            prop_assert!(source.get(span.offset..span.offset + span.length).is_some());
        }
    }

    #[test]
    fn what_is_printed_is_read_back(document in document()) {
        let source = bare(&document);
        let read = parse(&source).map_err(|e| TestCaseError::fail(format!("{e}\n{source}")))?;
        prop_assert_eq!(bare(&read), source);
    }
}
