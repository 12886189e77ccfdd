use serde_json::json;

use super::*;
use crate::logical::Entity;
use crate::policy::{DEFAULT_POLICY, Group, MountAlias, RESPONSE_WRAPPING_POLICY};
use Operation::{Create, Delete, List, Patch, Read, Update};

fn acl(texts: &[&str]) -> Acl {
    let policies: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            Policy::parse(&format!("p{index}"), text).unwrap_or_else(|error| panic!("{text}: {error}"))
        })
        .collect();
    Acl::compile(&policies, None)
}

/// Rules `path: capability,capability`, one a line.
fn rules(text: &str) -> Acl {
    let policy: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(path, capabilities)| {
            let capabilities: Vec<_> = capabilities.split(',').map(|c| format!("{c:?}")).collect();
            format!("path {path:?} {{ capabilities = [{}] }}\n", capabilities.join(","))
        })
        .collect();
    acl(&[&policy.concat()])
}

fn allowed(acl: &Acl, operation: Operation, path: &str) -> bool {
    acl.check(&Request::new(operation, path)).allowed
}

#[test]
fn operations_need_their_capability() {
    let acl = rules(
        "a: create,read
         b: update,patch,delete,list
         c: sudo,read",
    );
    for (operation, path, want) in [
        (Create, "a", true),
        (Read, "a", true),
        (Update, "a", false),
        (Update, "b", true),
        (Patch, "b", true),
        (Delete, "b", true),
        (List, "b", true),
        (Read, "b", false),
        (Read, "/a", true),
        (Read, "none", false),
    ] {
        assert_eq!(allowed(&acl, operation, path), want, "{operation:?} {path}");
    }
    assert!(acl.check(&Request::new(Read, "c")).sudo);
    assert!(!acl.check(&Request::new(Read, "a")).sudo);
}

#[test]
fn root_may_do_everything() {
    let root = Policy { name: ROOT_POLICY_NAME.to_owned(), rules: Vec::new(), templated: false };
    let acl = Acl::compile([&root], None);
    assert!(acl.is_root());
    let decision = acl.check(&Request::new(Delete, "sys/anything"));
    assert!(decision.allowed && decision.sudo && decision.root);
    assert_eq!(acl.capabilities("x"), ["root"]);
    assert_eq!(acl.granting_policies(Read, "x"), ["root"]);
    assert!(acl.reaches("secret/"));
}

/// The documented order, with the cases Vault's own documentation gives.
#[test]
fn the_most_specific_rule_counts() {
    let acl = rules(
        "secret/*: read
         secret/exact: list
         secret/+/team: update
         secret/+/te*: delete
         secret/data/+/team: create
         secret/a*: patch
         secret/+/+/x: sudo
         top/+: read
         top/*: list
         a/+/b*: read
         a/+/bar/ba*: list",
    );
    for (path, want) in [
        ("secret/other", "read"),
        ("secret/exact", "list"),
        ("secret/x/team", "update"),
        // Of two globs from the same place the one with fewer `+` counts.
        ("secret/x/tea", "read"),
        ("secret/data/y/team", "create"),
        ("secret/abc", "patch"),
        // The prefix `secret/a` reaches further than the first `+` of `secret/+/team`.
        ("secret/ab/team", "patch"),
        ("secret/y/z/x", "sudo"),
        ("top/x", "read"),
        ("top/x/y", "list"),
        ("a/1/bar/baz", "list"),
        ("a/1/bar/x", "read"),
        ("other", "deny"),
    ] {
        assert_eq!(acl.capabilities(path), [want], "{path}");
    }
}

#[test]
fn segment_wildcards() {
    let acl = rules(
        "+/config: read
         one/+/three: read
         deep/+/+/x*: read
         end/+: read
         only/+x/y: read",
    );
    for (path, want) in [
        ("any/config", true),
        ("any/other/config", false),
        ("one/two/three", true),
        ("one//three", true),
        ("one/two/three/", false),
        ("one/two", false),
        ("deep/a/b/x", true),
        ("deep/a/b/xyz/more", true),
        ("deep/a/b", false),
        ("end/x", true),
        ("end/", true),
        ("end", false),
        ("end/x/y", false),
        // A `+` that isn't a whole segment is a plain character.
        ("only/+x/y", true),
        ("only/ax/y", false),
    ] {
        assert_eq!(allowed(&acl, Read, path), want, "{path}");
    }
    assert!(allowed(&rules("+: read"), Read, "anything"));
    assert!(allowed(&rules("*: read"), Read, "any/thing"));
    assert!(allowed(&rules("/a: read"), Read, "a"), "one leading slash does not count");
    assert!(!allowed(&rules("//*: read"), Read, "a"), "a second one does");
}

#[test]
fn lists_with_and_without_slash() {
    let acl = rules(
        "folder: list
         slash/: list
         glob/*: list
         wild/+: list",
    );
    for (path, want) in [
        ("folder", true),
        ("folder/", true),
        ("slash/", true),
        ("slash", false),
        ("glob/", true),
        ("glob", false),
        ("wild/x", true),
        ("wild/x/", true),
        ("wild/", true),
    ] {
        assert_eq!(allowed(&acl, List, path), want, "{path}");
    }
    assert!(!allowed(&rules("folder: read"), Read, "folder/"));
}

#[test]
fn policies_add_up_and_a_denial_wins() {
    let merged = acl(&[
        r#"path "a" { capabilities = ["read"] } path "b*" { capabilities = ["read"] }"#,
        r#"path "a" { capabilities = ["update"] } path "b*" { capabilities = ["deny"] }"#,
        r#"path "a" { capabilities = ["list"] } path "b*" { capabilities = ["update"] }"#,
    ]);
    assert_eq!(merged.capabilities("a"), ["list", "read", "update"]);
    assert_eq!(merged.capabilities("bc"), ["deny"]);
    assert!(!allowed(&merged, Update, "bc"));
    assert_eq!(merged.granting_policies(Update, "a"), ["p1"]);
    assert_eq!(merged.granting_policies(Read, "bc"), Vec::<&str>::new());
}

#[test]
fn parameters_are_checked_on_writes() {
    let acl = acl(&[r#"path "a" {
        capabilities = ["create", "update", "list", "delete"]
        allowed_parameters = { "ttl" = ["1h", "2h"], "note" = [] }
        denied_parameters = { "note" = ["secret*"] }
        required_parameters = ["TTL"]
    }"#]);
    let check = |operation, data: Option<serde_json::Value>| {
        let data = data.map(|data| data.as_object().unwrap().clone());
        acl.check(&Request { data: data.as_ref(), ..Request::new(operation, "a") }).allowed
    };
    assert!(check(Update, Some(json!({"ttl": "1h"}))));
    assert!(check(Create, Some(json!({"ttl": "2h", "note": "x"}))));
    assert!(!check(Update, Some(json!({"ttl": "3h"}))));
    assert!(!check(Update, Some(json!({"ttl": "1h", "note": "secret!"}))));
    assert!(!check(Update, Some(json!({"ttl": "1h", "other": "x"}))));
    assert!(!check(Update, Some(json!({"note": "x"}))));
    assert!(!check(Update, None));
    assert!(check(List, None));
    assert!(check(Delete, Some(json!({"other": 1}))));
}

#[test]
fn merged_parameters() {
    let merged = acl(&[
        r#"path "a" { capabilities = ["update"] allowed_parameters = { x = ["1"] } }"#,
        r#"path "a" { capabilities = ["update"] allowed_parameters = { x = ["2"], y = [] } required_parameters = ["x"] }"#,
    ]);
    let check = |data: serde_json::Value| {
        merged.check(&Request { data: data.as_object(), ..Request::new(Update, "a") }).allowed
    };
    assert!(check(json!({"x": "1"})));
    assert!(check(json!({"x": "2", "y": "z"})));
    assert!(!check(json!({"x": "3"})));
    assert!(!check(json!({"y": "z"})));
}

#[test]
fn wrapping_ttls() {
    let acl = acl(&[
        r#"path "a" { capabilities = ["read"] min_wrapping_ttl = "1m" max_wrapping_ttl = "1h" }
           path "b" { capabilities = ["read"] max_wrapping_ttl = "2h" }"#,
        r#"path "b" { capabilities = ["read"] max_wrapping_ttl = "1h" min_wrapping_ttl = 90 }"#,
    ]);
    let check = |path, seconds: Option<u64>| {
        acl.check(&Request { wrap_ttl: seconds.map(Duration::from_secs), ..Request::new(Read, path) }).allowed
    };
    for (path, seconds, want) in [
        ("a", None, false),
        ("a", Some(59), false),
        ("a", Some(60), true),
        ("a", Some(3600), true),
        ("a", Some(3601), false),
        ("b", Some(3601), false),
        ("b", Some(89), false),
        ("b", Some(90), true),
    ] {
        assert_eq!(check(path, seconds), want, "{path} {seconds:?}");
    }
}

#[test]
fn templated_rules_need_an_identity() {
    let policy = Policy::parse(
        "p",
        r#"path "secret/{{identity.entity.aliases.acc.name}}/*" { capabilities = ["read"] }
           path "plain" { capabilities = ["read"] }"#,
    )
    .unwrap();
    let identity = Identity {
        entity: Entity { id: "e".to_owned(), ..Entity::default() },
        aliases: vec![MountAlias {
            mount_accessor: "acc".to_owned(),
            name: "alice".to_owned(),
            ..MountAlias::default()
        }],
        groups: vec![Group::default()],
    };
    let hers = Acl::compile([&policy], Some(&identity));
    assert!(allowed(&hers, Read, "secret/alice/x"));
    assert!(!allowed(&hers, Read, "secret/bob/x"));
    let nobodys = Acl::compile([&policy], None);
    assert!(!allowed(&nobodys, Read, "secret/alice/x"));
    assert!(allowed(&nobodys, Read, "plain"));
}

#[test]
fn mounts_within_reach() {
    let acl = rules(
        "secret/data/x: read
         kv: list
         no/*: deny
         pre*: read
         +/roles/a: read
         w/+/deep/x: read",
    );
    for (mount, want) in
        [("secret/", true), ("kv/", true), ("no/", true), ("prefix/", true), ("any/", true), ("w/", true)]
    {
        assert_eq!(acl.reaches(mount), want, "{mount}");
    }
    let acl = rules("no/*: deny\n x/+/y: read");
    assert!(!acl.reaches("no/"));
    assert!(acl.reaches("x/any/"));
    assert!(!acl.reaches("x/any/z/"));
}

#[test]
fn built_in_policies_give_what_the_real_ones_give() {
    let default = acl(&[DEFAULT_POLICY]);
    for (path, want) in [
        ("auth/token/lookup-self", &["read"][..]),
        ("auth/token/renew-self", &["update"]),
        ("auth/token/revoke-self", &["update"]),
        ("auth/token/create", &["deny"]),
        ("sys/capabilities-self", &["update"]),
        ("sys/leases/lookup", &["update"]),
        ("sys/mounts", &["deny"]),
        ("cubbyhole/x", &["create", "delete", "list", "read", "update"]),
        ("sys/wrapping/unwrap", &["update"]),
        ("sys/tools/hash/sha2-256", &["update"]),
        ("identity/oidc/provider/any/authorize", &["read", "update"]),
    ] {
        assert_eq!(default.capabilities(path), want, "{path}");
    }
    let wrapping = acl(&[RESPONSE_WRAPPING_POLICY]);
    assert_eq!(wrapping.capabilities("cubbyhole/response"), ["create", "read"]);
    assert_eq!(wrapping.capabilities("sys/wrapping/unwrap"), ["update"]);
}

#[test]
fn a_policy_with_many_wildcards_and_parameters_is_compiled_in_time() {
    let mut text: String =
        (0..50_000).map(|at| format!("path \"a/+/{at}\" {{ capabilities = [\"read\"] }}\n")).collect();
    for start in [0, 40_000] {
        let names: String = (start..start + 50_000).map(|at| format!("\"f{at}\",")).collect();
        text += &format!("path \"b\" {{ capabilities = [\"update\"] required_parameters = [{names}] }}\n");
    }
    let start = std::time::Instant::now();
    let acl = acl(&[&text]);
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    assert!(allowed(&acl, Read, "a/x/49999"));
    let required = &acl.resultant()["exact_paths"]["b"]["required_parameters"];
    assert_eq!(required.as_array().map(Vec::len), Some(90_000));
}
