use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Policy {
    Policy::parse("p", text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn rule(text: &str) -> Rule {
    let policy = parse(&format!("path \"a\" {{ {text} }}"));
    assert_eq!(policy.rules.len(), 1);
    policy.rules[0].clone()
}

fn refused(text: &str) -> PolicyError {
    Policy::parse("p", text).expect_err(text)
}

#[test]
fn capabilities_of_all_kinds() {
    for (text, names) in [
        (r#"capabilities = ["read"]"#, &["read"][..]),
        (
            r#"capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"]"#,
            &["create", "delete", "list", "patch", "read", "sudo", "update"],
        ),
        (r#"capabilities = ["read", "deny", "nonsense"]"#, &["deny"]),
        ("capabilities = []", &["deny"]),
        ("", &["deny"]),
        (r#"policy = "read""#, &["list", "read"]),
        (r#"policy = "write""#, &["create", "delete", "list", "read", "update"]),
        (r#"policy = "sudo""#, &["create", "delete", "list", "read", "sudo", "update"]),
        (r#"policy = "deny" capabilities = ["read"]"#, &["deny"]),
        (r#"policy = "read" capabilities = ["update"]"#, &["list", "read", "update"]),
        ("capabilities = [\"read\"]\ncapabilities = [\"list\"]", &["list", "read"]),
    ] {
        assert_eq!(rule(text).capabilities.names(), names, "{text}");
    }
}

#[test]
fn parameters_and_ttls() {
    let rule = rule(
        r#"capabilities = ["update"]
        allowed_parameters = { "Foo" = ["a"], bar = [] }
        denied_parameters { baz = ["x*"] }
        required_parameters = ["foo"]
        min_wrapping_ttl = "1m" max_wrapping_ttl = 3600
        comment = "why""#,
    );
    let names: Vec<_> = rule.allowed_parameters.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["bar", "foo"]);
    assert!(!rule.denied_parameters.is_empty());
    assert_eq!(rule.required_parameters, ["foo"]);
    assert_eq!(rule.min_wrapping_ttl, Some(Duration::from_mins(1)));
    assert_eq!(rule.max_wrapping_ttl, Some(Duration::from_hours(1)));
}

#[test]
fn control_groups_are_checked() {
    rule(
        r#"capabilities = ["read", "list"] control_group {
            ttl = "4h"
            factor "ops" {
                controlled_capabilities = ["read"]
                identity { group_names = ["managers"] approvals = 2 }
            }
        }"#,
    );
}

#[test]
fn forms_of_real_policies() {
    let policy = parse(
        "# two on a line\npath \"a\"\n{ capabilities = [\"read\"] } path \"/b/*\" { capabilities = [\"list\",] }\n\
         path \"${x}\" { policy = \"read\" comment = \"c\" }",
    );
    let paths: Vec<_> = policy.rules.iter().map(|rule| rule.path.as_str()).collect();
    assert_eq!(paths, ["a", "/b/*", "${x}"]);
    assert!(!policy.templated);

    let json = parse(r#"{"path": {"a": {"capabilities": ["read"]}, "b": {"policy": "write"}}}"#);
    assert_eq!(json.rules.len(), 2);
    assert!(parse("path \"{{identity.entity.id}}\" {}").templated);
    // Vault's parser takes a text without any rule; its API refuses no text at all.
    assert!(parse(" # nothing\n").rules.is_empty());
}

#[test]
fn refusals_are_vaults() {
    for (text, want) in [
        ("", "'policy' parameter not supplied or empty"),
        (
            r#"path "x" { capabilities = ["y"] }"#,
            r#"failed to parse policy: path "x": invalid capability "y""#,
        ),
        (
            "path \"x\" {\n  capabilites = [\"read\"]\n}",
            "failed to parse policy: 1 error occurred:\n\t* path \"x\": invalid key \"capabilites\" on line 2\n\n",
        ),
        (
            "path \"x\" {\n  a = 1\n  b {}\n}",
            "failed to parse policy: 2 errors occurred:\n\t* path \"x\": invalid key \"a\" on line 2\n\t* path \"x\": invalid key \"b\" on line 0\n\n",
        ),
        (
            "paths \"x\" {}",
            "failed to parse policy: 1 error occurred:\n\t* invalid key \"paths\" on line 0\n\n",
        ),
        ("bad = 1", "failed to parse policy: 1 error occurred:\n\t* invalid key \"bad\" on line 1\n\n"),
        (
            r#"path = { "secret/*" = { capabilities = ["read"] } }"#,
            "failed to parse policy: 1 error occurred:\n\t* path \"path\": invalid key \"secret/*\" on line 1\n\n",
        ),
        (
            r#"path = "x""#,
            r#"failed to parse policy: path "path": cannot check HCL keys of type *ast.LiteralType"#,
        ),
        (r#"path "x" { policy = "all" }"#, r#"failed to parse policy: path "x": invalid policy "all""#),
        (
            r#"path "a/+*" { policy = "read" }"#,
            r#"failed to parse policy: path "a/+*": invalid use of wildcards ('+*' is forbidden)"#,
        ),
        (
            r#"path "{{x" { policy = "read" }"#,
            "failed to parse policy: failed to validate policy templating: unbalanced templating characters",
        ),
        (
            r#"path "x" { capabilities = "read" }"#,
            r#"failed to parse policy: path "x": At 1:27: unknown slice type: *ast.LiteralType"#,
        ),
        (
            r#"path "x" { capabilities = [true] }"#,
            r#"failed to parse policy: path "x": At 1:28: root.Capabilities[0]: unknown type for string *ast.LiteralType"#,
        ),
        (
            r#"path "x" { capabilities = ["read"] min_wrapping_ttl = "soon" }"#,
            r#"failed to parse policy: error parsing min_wrapping_ttl: time: invalid duration "soon""#,
        ),
        (
            r#"path "x" { min_wrapping_ttl = "2h" max_wrapping_ttl = "1h" }"#,
            "failed to parse policy: max_wrapping_ttl cannot be less than min_wrapping_ttl",
        ),
        ("path \"x\" {", "failed to parse policy: At 1:12: object expected closing RBRACE got: EOF"),
        (
            "path \"x\" { capabilities = [\"read\" }",
            "failed to parse policy: At 1:35: error parsing list, expected comma or list end, got: RBRACE",
        ),
        ("name = []", "failed to parse policy: At 1:8: root.name: unknown type for string *ast.ListType"),
    ] {
        assert_eq!(refused(text).to_string(), want, "{text}");
    }
}

#[test]
fn all_faults_are_reported_with_their_place() {
    let text = r#"path "a" { capabilities = ["reed", "list", "wirte"] }
path "b" {
  capabilites = ["read"]
  polcy = "read"
}
pth "c" {}
path "d" { policy = "all" }
"#;
    let error = refused(text);
    let mut found: Vec<_> = error
        .faults()
        .iter()
        .map(|fault| (fault.span.line, fault.span.column, fault.span.text(text)))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            (1, 28, "\"reed\""),
            (1, 44, "\"wirte\""),
            (3, 3, "capabilites"),
            (4, 3, "polcy"),
            (6, 1, "pth"),
            (7, 21, "\"all\""),
        ]
    );
    let wrong = refused(r#"path "x" { capabilities = "read" }"#);
    assert_eq!(wrong.faults()[0].message, r#"path "x": capabilities: expected a list of strings"#);
    let reed = error.faults().iter().find(|fault| fault.message.contains("reed")).unwrap();
    assert_eq!(reed.message, r#"path "a": invalid capability "reed""#);
    assert!(reed.known.contains(&"read"));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(
        text in r#"(path|name|"[a-z/+*{}]{0,6}"|capabilities|policy|allowed_parameters|min_wrapping_ttl|[{}=\[\],]|"read"|"deny"|[0-9]{1,3}|\n| ){0,30}"#,
    ) {
        if let Err(error) = Policy::parse("p", &text) {
            prop_assert!(!error.faults().is_empty());
            for fault in error.faults() {
                let span = fault.span;
                prop_assert!(text.get(span.offset..span.offset + span.length).is_some());
            }
        }
    }
}

#[test]
fn what_is_said_of_a_long_policy_is_bounded() {
    let path = "p".repeat(1 << 20);
    let keys = format!("path \"{path}\" {{ {} }}", "x = 1\n".repeat(100_000));
    let capabilities = format!("path \"{path}\" {{ capabilities = [{}] }}", "\"x\",".repeat(100_000));
    for text in [&keys, &capabilities] {
        let error = refused(text);
        let said: usize = error.faults().iter().map(|fault| fault.message.len()).sum();
        assert!(said + error.to_string().len() < 8 << 20, "{said}");
        assert!(!error.faults().is_empty());
    }
    let keys = refused(&keys).to_string();
    assert!(
        keys.starts_with("failed to parse policy: 100000 errors occurred:\n\t* path \"ppp"),
        "{}",
        &keys[..99]
    );
    assert!(keys.contains("ppp…\": invalid key \"x\" on line 1\n"));
}
