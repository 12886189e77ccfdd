//! The table against a slow reading of the rules, one after the other.

use proptest::prelude::*;

use super::*;

/// A rule of the reference: path and capability names.
type Plain = (String, Vec<&'static str>);

fn policy(name: &str, rules: &[Plain]) -> Policy {
    let text: Vec<String> = rules
        .iter()
        .map(|(path, capabilities)| format!("path {path:?} {{ capabilities = {capabilities:?} }}\n"))
        .collect();
    Policy::parse(name, &format!("#\n{}", text.concat())).unwrap()
}

fn has_segment_wildcard(path: &str) -> bool {
    path == "+" || path.starts_with("+/") || path.contains("/+")
}

/// Whether a rule's path covers a request's path, segment by segment.
fn covers(rule: &str, path: &str) -> bool {
    if !has_segment_wildcard(rule) {
        return match rule.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => rule == path,
        };
    }
    let glob = rule.ends_with('*');
    let rule: Vec<_> = rule.trim_end_matches('*').split('/').collect();
    let path: Vec<_> = path.split('/').collect();
    if path.len() < rule.len() || (!glob && path.len() > rule.len()) {
        return false;
    }
    rule.iter()
        .zip(&path)
        .enumerate()
        .all(|(i, (r, p))| *r == "+" || r == p || (glob && i + 1 == rule.len() && p.starts_with(r)))
}

/// Whether rule `a` has priority over rule `b`, neither being exact.
fn beats(a: &str, b: &str) -> bool {
    let key = |rule: &str| {
        let wild = has_segment_wildcard(rule);
        let stem = rule.trim_end_matches('*').to_owned();
        let first = if wild { rule.find('+').unwrap() } else { stem.len() };
        let wildcards = stem.split('/').filter(|s| wild && *s == "+").count();
        (first, !rule.ends_with('*'), -(wildcards as i64), stem.len(), stem)
    };
    key(a) > key(b)
}

/// The capabilities of the rules that count for `path`.
fn lookup(rules: &[Plain], path: &str) -> Option<Vec<&'static str>> {
    let is_exact = |rule: &str| !rule.ends_with('*') && !has_segment_wildcard(rule);
    let mut best: Option<&str> = None;
    for (rule, _) in rules.iter().filter(|(rule, _)| covers(rule, path)) {
        best = match best {
            Some(other) if is_exact(other) => Some(other),
            Some(other) if !is_exact(rule) && !beats(rule, other) => Some(other),
            _ => Some(rule),
        };
    }
    let best = best?;
    Some(
        rules
            .iter()
            .filter(|(rule, _)| rule == best)
            .flat_map(|(_, capabilities)| capabilities.iter().copied())
            .collect(),
    )
}

fn reference(rules: &[Plain], operation: Operation, path: &str) -> bool {
    let wanted = match operation {
        Operation::List => "list",
        Operation::Update => "update",
        _ => "read",
    };
    let exact = |path: &str| {
        rules.iter().any(|(rule, _)| rule == path && !rule.ends_with('*') && !has_segment_wildcard(rule))
    };
    let folder = path.strip_suffix('/').unwrap_or(path);
    let found = if operation == Operation::List && path != folder && !exact(path) {
        lookup(rules, folder).or_else(|| lookup(rules, path))
    } else {
        lookup(rules, path)
    };
    found.is_some_and(|capabilities| capabilities.contains(&wanted) && !capabilities.contains(&"deny"))
}

fn rule() -> impl Strategy<Value = Plain> {
    let path = (
        prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "+", "+", ""]), 1..4),
        prop::sample::select(vec!["", "", "*", "a*", "/*"]),
    )
        .prop_map(|(segments, end)| format!("{}{end}", segments.join("/")))
        .prop_filter("not a wildcard", |path| {
            !path.contains("+*") && !path.starts_with('/') && !path.is_empty()
        });
    let capabilities =
        prop::collection::vec(prop::sample::select(vec!["read", "read", "update", "list", "deny"]), 0..3);
    (path, capabilities)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn decides_as_the_slow_reference(
        rules in prop::collection::vec(rule(), 1..7),
        split in 0_usize..7,
        path in "(a|b|ab|/){1,4}",
        operation in prop::sample::select(vec![Operation::Read, Operation::Update, Operation::List]),
    ) {
        let path = path.trim_start_matches('/');
        let (first, second) = rules.split_at(split.min(rules.len()));
        let policies = [policy("one", first), policy("two", second)];
        let acl = Acl::compile(&policies, None);
        let decision = acl.check(&Request::new(operation, path));
        prop_assert_eq!(decision.allowed, reference(&rules, operation, path));
    }

    #[test]
    fn arbitrary_paths_never_panic(rules in prop::collection::vec(rule(), 0..4), path in any::<String>()) {
        let acl = Acl::compile([&policy("p", &rules)], None);
        let _ = acl.check(&Request::new(Operation::List, &path));
        let _ = acl.capabilities(&path);
        let _ = acl.reaches(&path);
    }
}
