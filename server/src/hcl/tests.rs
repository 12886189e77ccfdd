use super::{Body, Error, MAX_DEPTH, Value, ValueKind, parse};

/// A document in one line, for comparison: `a "b" {c=1}`.
fn show(body: &Body) -> String {
    let items: Vec<_> = body
        .items
        .iter()
        .map(|item| {
            let keys: Vec<_> = item.keys.iter().map(|key| key.name.as_str()).collect();
            let assign = if item.assign.is_some() { "=" } else { " " };
            format!("{}{assign}{}", keys.join("|"), show_value(&item.value))
        })
        .collect();
    items.join("; ")
}

fn show_value(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Number { value, .. } => value.to_string(),
        ValueKind::Float(number) => format!("{number:?}"),
        ValueKind::Bool(flag) => flag.to_string(),
        ValueKind::List(values) => {
            let values: Vec<_> = values.iter().map(show_value).collect();
            format!("[{}]", values.join(", "))
        }
        ValueKind::Object(body) => format!("{{{}}}", show(body)),
    }
}

fn shown(source: &str) -> String {
    show(&parse(source).unwrap_or_else(|error| panic!("{source:?}: {error}")))
}

fn error(source: &str) -> Error {
    match parse(source) {
        Ok(body) => panic!("{source:?} was read as {}", show(&body)),
        Err(error) => error,
    }
}

#[test]
fn reads_the_forms_real_policies_use() {
    for (source, want) in [
        ("path \"a\"\n{\n  x = 1\n}", r"path|a {x=1}"),
        ("a = 1 b = 2", "a=1; b=2"),
        (r#"p "a" { x = 1 } p "b" { y = 2 }"#, "p|a {x=1}; p|b {y=2}"),
        ("a = 1\na = 2", "a=1; a=2"),
        ("a = { b = 1, c = 2 }", "a={b=1; c=2}"),
        ("a { b { c = 1 } }", "a {b {c=1}}"),
        ("a = [1, 2,]", "a=[1, 2]"),
        ("a = [\n1,\n# one\n2 // two\n]", "a=[1, 2]"),
        ("a = [true, [1], {b = 1}]", "a=[true, [1], {b=1}]"),
        ("a = {}", "a={}"),
        ("", ""),
        ("# only\n// comments /* \n/* and\nmore */", ""),
        ("a /* x */ = /* y */ 1 # z", "a=1"),
        ("foo.bar-baz_1 = true", "foo.bar-baz_1=true"),
        ("\"quoted key\" = false", "quoted key=false"),
        ("a = \"x\"\r\nb = 1\r\n", r#"a="x"; b=1"#),
        ("größe = 1", "größe=1"),
    ] {
        assert_eq!(shown(source), want, "{source:?}");
    }
}

#[test]
fn numbers() {
    for (text, want) in [
        ("0", "0"),
        ("42", "42"),
        ("-7", "-7"),
        ("0x1F", "31"),
        ("010", "8"),
        ("1.5", "1.5"),
        ("-0.25", "-0.25"),
        (".5", "0.5"),
        ("1e3", "1000.0"),
        ("2.5E-1", "0.25"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
    ] {
        assert_eq!(shown(&format!("n = {text}")), format!("n={want}"));
    }
    for (text, want) in [
        ("9223372036854775808", "number out of range: 9223372036854775808"),
        ("0x", "illegal hexadecimal number"),
        ("089", "illegal octal number"),
        ("1e999", "number out of range: 1e999"),
    ] {
        assert_eq!(error(&format!("n = {text}")).message(), want);
    }
}

#[test]
fn strings_and_interpolation() {
    for (source, want) in [
        (r#""a\n\t\"\\\a\101\x41\u00e9\U0001F600""#, "a\n\t\"\\\u{7}AA\u{e9}\u{1F600}"),
        (r#""${file("x")} b""#, r#"${file("x")} b"#),
        (r#""${a{b}c}\n""#, "${a{b}c}\n"),
        ("\"$x { }\"", "$x { }"),
        ("\"${a\nb}\"", "${a\nb}"),
        (r#""secret/${x}/*""#, "secret/${x}/*"),
        (r#""""#, ""),
    ] {
        let body = parse(&format!("s = {source}")).unwrap();
        assert_eq!(body.items[0].value.kind, ValueKind::String(want.to_owned()), "{source}");
    }
}

#[test]
fn heredocs() {
    for (source, want) in [
        ("s = <<EOF\nline\n  two\nEOF\n", "line\n  two\n"),
        ("s = <<EOF\nEOF\n", ""),
        ("s = <<-EOF\n    a\n      b\n    EOF\n", "a\n  b\n"),
        ("s = <<-EOF\n  a\n b\n  EOF\n", "  a\n b\n"),
        ("s = <<X1\na \\n ${b} \"c\"\nX1\n", "a \\n ${b} \"c\"\n"),
        ("s = <<-EOF\n  a\nEOF\n EOF\n", "  a\nEOF\n"),
        ("s = <<EOF\nnot EOF\nEOF2\nEOF\n", "not EOF\nEOF2\n"),
        ("s = <<EOF\r\na\r\nEOF\r\n", "a\n"),
    ] {
        let body = parse(source).unwrap_or_else(|error| panic!("{source:?}: {error}"));
        assert_eq!(body.items[0].value.kind, ValueKind::String(want.to_owned()), "{source:?}");
    }
}

#[test]
fn errors_are_vaults_and_point_at_the_text() {
    for (source, want, text) in [
        ("a = 1\n  ; b", "At 2:3: illegal char", ";"),
        ("a = \"x\n", "At 1:7: literal not terminated", ""),
        ("path \"x\" = {}", "At 1:10: nested object expected: LBRACE got: ASSIGN", "="),
        ("= 1", "At 1:1: no object keys found!", "="),
        ("{{}}", "At 1:2: expected a key in double quotes, found '{'", "{"),
        ("a {{}}", "At 1:4: expected: IDENT | STRING got: LBRACE", "{"),
        (
            "path \"x\"",
            "At 1:9: key 'path \"x\"' expected start of object ('{') or assignment ('=')",
            "path \"x\"",
        ),
        ("a { b }", "At 1:7: key 'b' expected start of object ('{') or assignment ('=')", "b"),
        ("a {", "At 1:5: object expected closing RBRACE got: EOF", "{"),
        ("}", "At 1:1: expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACE", "}"),
        ("a = b", "At 1:5: Unknown token: 1:5 IDENT b", "b"),
        ("a = [1 2]", "At 1:8: error parsing list, expected comma or list end, got: NUMBER", "2"),
        ("a = [b]", "At 1:6: unexpected token while parsing list: IDENT", "b"),
        ("a = [\"read\" }", "At 1:13: error parsing list, expected comma or list end, got: RBRACE", "}"),
        ("a = ", "EOF token found", ""),
        ("a { b = ", "At 1:10: object expected closing RBRACE got: EOF", ""),
        ("/* x", "At 1:5: comment not terminated", "/*"),
        ("/ x", "At 1:1: expected '/' for comment", "/"),
        ("a = \"\\q\"", "At 1:7: illegal char escape", "\\q"),
        ("a = \"\\x4g\"", "At 1:9: illegal char escape", "\\x4"),
        (
            "a = [1, [2, b]]",
            "At 1:9: error while trying to parse list within list: At 1:13: unexpected token while parsing list: IDENT",
            "b",
        ),
        ("a = [{;}]", "At 1:7: illegal char", ";"),
        ("a = <<EOF\nx", "At 2:2: heredoc not terminated", "EOF"),
        ("a = <<EOF x\n", "At 1:10: invalid characters in heredoc anchor", " "),
        ("a = <<\n", "At 1:7: zero-length heredoc anchor", ""),
        ("a = \"é\" ü €", "At 1:11: illegal char", "€"),
    ] {
        let error = error(source);
        assert_eq!(error.to_string(), want, "{source:?}");
        if !text.is_empty() {
            assert!(
                error.span().text(source).starts_with(text),
                "{source:?}: {:?}",
                error.span().text(source)
            );
        }
    }
}

#[test]
fn json_reads_as_blocks() {
    for (source, want) in [
        (r#"{"path": {"a": {"x": ["1"]}, "b": {"y": 2}}}"#, r#"path|a={x=["1"]}; path|b={y=2}"#),
        (r#"{"path": [{"a": {"x": 1}}, {"a": {"x": 2}}]}"#, "path|a={x=1}; path|a={x=2}"),
        (r#" {"listener": [{"tcp": {"address": "x"}}], "n": null, }"#, r#"listener|tcp={address="x"}; n="""#),
        (r#"{"a": {}}"#, "a={}"),
        (r#"{"a": [], "b": [1.5, true, "A\n"]}"#, r#"a=[]; b=[1.5, true, "A\n"]"#),
        ("{}", ""),
    ] {
        assert_eq!(shown(source), want, "{source}");
    }
}

#[test]
fn json_errors_have_positions() {
    for (source, want) in [
        ("{\"a\": 1", "At 1:8: expected ',' or '}', found the end"),
        ("{\"a\"\n 1}", "At 2:2: expected ':', found '1'"),
        ("{a: 1}", "At 1:2: expected a key in double quotes, found 'a'"),
        ("{} x", "At 1:4: text after the end of the JSON document"),
        ("{\"a\": 01}", "At 1:7: invalid number 01"),
        ("{\"a\": \"\\q\"}", "At 1:7: invalid JSON string"),
        ("{\"a\": nul}", "At 1:7: unknown value nul"),
        ("{\"a\": [1 2]}", "At 1:10: expected ',' or ']', found '2'"),
    ] {
        assert_eq!(error(source).to_string(), want, "{source}");
    }
}

#[test]
fn depth_is_bounded() {
    for (open, close) in [("a = [", "]"), ("a {", "}"), ("{\"a\":", "}")] {
        let nest = |depth: usize| {
            let inner = if open == "a = [" { "[".repeat(depth - 1) } else { open.repeat(depth - 1) };
            let start = if open == "a = [" { open } else { "" };
            let start = if start.is_empty() { open.to_owned() } else { start.to_owned() };
            let filler = if open.ends_with(':') { "1" } else { "" };
            format!("{start}{inner}{filler}{}", close.repeat(depth))
        };
        assert!(parse(&nest(MAX_DEPTH)).is_ok(), "{open}");
        let error = error(&nest(MAX_DEPTH + 1));
        assert_eq!(error.message(), "nested deeper than 100 levels");
    }
    // A label is a level, as it is in JSON: what is made of them is as deep.
    let labels = |count: usize| format!("a {}{{}}", "b ".repeat(count - 1));
    assert!(parse(&labels(MAX_DEPTH)).is_ok());
    assert!(parse(&format!("{0}\n{0}", labels(MAX_DEPTH))).is_ok());
    assert_eq!(error(&labels(MAX_DEPTH + 1)).message(), "nested deeper than 100 levels");
    assert!(parse(&labels(100_000)).is_err());
    // Far beyond the bound the stack must hold too.
    assert!(parse(&"a {".repeat(100_000)).is_err());
    assert!(parse(&"{\"a\":".repeat(100_000)).is_err());
}

#[test]
fn spans_cover_the_source_text() {
    let source = "path \"é\" {\n  list = [\"x\", 0x10]\n}";
    let body = parse(source).unwrap();
    let item = &body.items[0];
    assert_eq!(item.keys[1].span.text(source), "\"é\"");
    assert_eq!(item.labels()[0].name, "é");
    let ValueKind::Object(inner) = &item.value.kind else {
        panic!("no block");
    };
    assert_eq!(inner.span.text(source), "{\n  list = [\"x\", 0x10]\n}");
    let list = &inner.items[0];
    assert_eq!((list.value.span.line, list.value.span.column), (2, 10));
    assert_eq!(list.value.span.text(source), "[\"x\", 0x10]");
}

#[test]
fn keys_that_are_copied_to_many_blocks_are_bounded() {
    let blocks = |key: usize, count: usize| {
        format!("{{\"{}\": {{{}\"b\": {{}}}}}}", "k".repeat(key), "\"a\": {},".repeat(count))
    };
    assert_eq!(parse(&blocks(1, 10_000)).unwrap().items.len(), 10_001);
    assert_eq!(error(&blocks(100_000, 10_000)).message(), "too many blocks within blocks");
}
