//! Entries with several things wrong.

use super::Folder;

#[test]
fn a_key_that_cannot_be_read_hides_nothing_else_in_its_entry() {
    let lab = |databases: &str, rest: &str| {
        format!("apiVersion: vaultlab/v1\nname: a\ndatabases:\n{databases}{rest}")
    };
    for (text, all) in [
        (
            lab(
                "  - {name: a, engine: postgres, flavour: mariadb, seed: x.sql, \
                 schema: [none1.sql, none2.sql], root_rotation: {every: 0s}}\n",
                "",
            ),
            &["expected a list", "`none1.sql`", "`none2.sql`", "for `engine: mysql` only", "every second"][..],
        ),
        (lab("  - {name: a, engine: mysqll, schema: [none.sql]}\n", ""), &["`mysqll` is not", "`none.sql`"]),
        (
            lab("  - {engine: postgres, admin: none.sql, root_rotation: {every: 0s}}\n", ""),
            &["lacks the key `name`", "`none.sql`", "every second"],
        ),
        (
            lab(
                "  - {name: a, engine: postgres}\n",
                "approles:\n  - {policies: [nope2], token_ttl: 2h, token_max_ttl: 1h}\n  - {name: b, policies: x, deliver: {role_id: r}}\n",
            ),
            &[
                "an AppRole lacks the key `name`",
                "`nope2` is not declared",
                "above its maximum",
                "found text",
                "`deliver` lacks",
            ],
        ),
        (
            lab(
                "  - {name: a, engine: postgres}\n",
                "roles:\n  - {name: r, database: b, default_ttl: 0, revocation_statements: none.sql}\n\
                 static_roles:\n  - {name: s, database: b, rotation_period: 1s, grants: none.sql, rotation_statements: none2.sql}\n",
            ),
            &[
                "a role lacks the key `creation_statements`",
                "there is no database `b`",
                "`default_ttl` must be at least 1s",
                "`none.sql`",
                "a static role lacks the key `username`",
                "every 5 seconds",
                "`none2.sql`",
            ],
        ),
        (
            "apiVersion: vaultlab/v1\nname: a\ndatabases: {name: a}\nroles:\n  - {name: r, database: a, \
             creation_statements: none.sql}\npolicies:\n  - {hcl: 'path 1 {}'}\n"
                .to_owned(),
            &["expected a list, found a mapping", "`none.sql`", "a policy lacks the key `name`"],
        ),
    ] {
        let report = Folder::new(&text).report();
        for told in all {
            assert!(report.contains(told), "{told} is not in\n{report}");
        }
        assert!(!report.contains("there is no database `a`"), "{report}");
    }
}
