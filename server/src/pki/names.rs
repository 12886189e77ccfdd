//! Which names a role lets into a certificate.

use super::role::Role;

/// Whether a DNS name or e-mail address may be in a certificate of this role. `display_name` is
/// that of the token, for `allow_token_displayname`.
///
/// The order of the checks is Vault's: form first, then each rule that can allow the name.
pub(super) fn is_allowed(role: &Role, name: &str, display_name: &str) -> bool {
    let (host, is_email) = match name.split_once('@') {
        Some((_, host)) if host.contains('@') => return false,
        Some((_, host)) => (host, true),
        None => (name, false),
    };
    let Some((wildcard, reduced)) = split_wildcard(host) else {
        return false;
    };
    let is_wildcard = wildcard.is_some();
    if is_wildcard && (is_email || !role.flag("allow_wildcard_certificates")) {
        return false;
    }
    if role.flag("enforce_hostnames") && !is_hostname(reduced) {
        return false;
    }
    if role.flag("allow_any_name") {
        return true;
    }
    let subdomains = role.flag("allow_subdomains");
    let below = |domain: &str| {
        ends_with_label(reduced, domain) || (is_wildcard && reduced.eq_ignore_ascii_case(domain))
    };
    if role.flag("allow_localhost") {
        let local = ["localhost", "localdomain"];
        if local.iter().any(|l| (!is_wildcard && reduced == *l) || (subdomains && below(l))) {
            return true;
        }
    }
    if role.flag("allow_token_displayname")
        && !display_name.is_empty()
        && (name == display_name || (subdomains && below(display_name)))
    {
        return true;
    }
    role.list("allowed_domains").iter().filter(|domain| !domain.is_empty()).any(|domain| {
        let bare = name.eq_ignore_ascii_case(domain) || (is_email && host.eq_ignore_ascii_case(domain));
        (role.flag("allow_bare_domains") && bare)
            || (subdomains && below(domain))
            || (role.flag("allow_glob_domains") && domain.contains('*') && glob(domain, name))
    })
}

/// The left-most label if it holds a `*`, and the rest of the name; none where a `*` is elsewhere.
fn split_wildcard(host: &str) -> Option<(Option<&str>, &str)> {
    if !host.contains('*') {
        return Some((None, host));
    }
    match host.split_once('.') {
        Some((label, rest)) if label.matches('*').count() == 1 && !rest.contains('*') => {
            let others = label.bytes().filter(|byte| *byte != b'*');
            let plain = others.clone().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            plain.then_some((Some(label), rest))
        }
        _ => None,
    }
}

/// Whether `name` lies below `domain`: `a.b.c` below `b.c`; in the same case, as Vault has it.
fn ends_with_label(name: &str, domain: &str) -> bool {
    name.len() > domain.len() + 1
        && name.as_bytes()[name.len() - domain.len() - 1] == b'.'
        && name.ends_with(domain)
}

/// Whether this is a host name: labels of letters, digits and inner hyphens. Names in other
/// scripts have to come in their ASCII form.
pub(super) fn is_hostname(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    (1..=253).contains(&name.len()) && name.split('.').all(label)
}

/// Whether `text` matches a pattern in which `*` stands for any text.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(found) = rest.find(part) else {
            return false;
        };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn role(body: Value) -> Role {
        let Value::Object(body) = body else { panic!("not an object") };
        Role::from_request(&body).unwrap()
    }

    fn allowed(body: Value, name: &str) -> bool {
        is_allowed(&role(body), name, "token-bob.example.com")
    }

    #[test]
    fn nothing_but_localhost_by_default() {
        assert!(allowed(json!({}), "localhost"));
        assert!(!allowed(json!({}), "example.com"));
        assert!(!allowed(json!({"allow_localhost": false}), "localhost"));
    }

    #[test]
    fn domains_and_what_is_below_them() {
        let domain = |extra: Value| {
            let mut body = json!({"allowed_domains": "example.com"});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            body
        };
        let bare = domain(json!({"allow_bare_domains": true}));
        assert!(allowed(bare.clone(), "example.com"));
        assert!(allowed(bare.clone(), "EXAMPLE.com"));
        assert!(allowed(bare.clone(), "bob@example.com"));
        assert!(!allowed(bare, "a.example.com"));
        let sub = domain(json!({"allow_subdomains": true}));
        for name in
            ["a.example.com", "a.b.example.com", "*.example.com", "w*.example.com", "bob@mail.example.com"]
        {
            assert!(allowed(sub.clone(), name), "{name}");
        }
        for name in [
            "example.com",
            "aexample.com",
            "a.example.org",
            "*.*.example.com",
            "a.*.example.com",
            "*@example.com",
        ] {
            assert!(!allowed(sub.clone(), name), "{name}");
        }
        assert!(allowed(sub.clone(), "A.example.com"));
        assert!(!allowed(sub, "a.EXAMPLE.com"));
        let no_wildcards = domain(json!({"allow_subdomains": true, "allow_wildcard_certificates": false}));
        assert!(!allowed(no_wildcards, "*.example.com"));
        let globs = json!({"allowed_domains": ["ftp*.example.com"], "allow_glob_domains": true});
        assert!(allowed(globs.clone(), "ftp12.example.com"));
        assert!(!allowed(globs, "xftp.example.com"));
    }

    #[test]
    fn form_is_enforced_unless_switched_off() {
        for name in ["under_score", "-a", "a-", "a..b", "sp ace", ""] {
            assert!(!allowed(json!({"allow_any_name": true}), name), "{name:?}");
            assert!(allowed(json!({"allow_any_name": true, "enforce_hostnames": false}), name), "{name:?}");
        }
        assert!(!allowed(json!({"allow_any_name": true}), "a@b@c"));
    }

    #[test]
    fn the_tokens_display_name_counts_when_asked_for() {
        let body = json!({"allow_token_displayname": true});
        assert!(allowed(body, "token-bob.example.com"));
    }

    proptest! {
        #[test]
        fn any_name_is_answered(name: String, domain: String) {
            let body = json!({"allowed_domains": [domain], "allow_subdomains": true, "allow_glob_domains": true});
            let _ = allowed(body, &name);
        }

        #[test]
        fn a_pattern_of_one_star_matches_prefix_and_suffix(a in "[a-c]{0,3}", x in "[a-c]{0,4}", b in "[a-c]{0,3}") {
            let text = format!("{a}{x}{b}");
            let pattern = format!("{a}*{b}");
            prop_assert!(glob(&pattern, &text));
        }
    }
}
