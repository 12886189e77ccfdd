//! What names may look like. A name that breaks the rules is a problem, but is read all the same, so
//! that what refers to it can be checked.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::{Decode, Problems};
use super::load::Node;

/// Longest name of a lab or a service.
const SERVICE_MAX: usize = crate::state::LONGEST_NAME;
/// Longest name of anything else.
const NAME_MAX: usize = 64;

/// Longest name of an account: MySQL's.
const ACCOUNT_MAX: usize = 32;

/// What is wrong with a name, and advice.
type Refusal = (String, Option<String>);

/// Declares kinds of names: text with a rule. The pattern is for the schema, the function decides.
macro_rules! names {
    ($($(#[$attr:meta])* $name:ident($check:path, $pattern:literal, $max:expr);)*) => {$(
        $(#[$attr])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(super) struct $name(pub String);

        impl Decode for $name {
            fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
                let text = String::decode(node, problems)?;
                match $check(&text) {
                    Ok(()) => {}
                    Err((message, Some(help))) => problems.add_help(node.place, message, help),
                    Err((message, None)) => problems.add(node.place, message),
                }
                Some(Self(text))
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "maxLength": $max })
            }
        }
    )*};
}

names! {
    /// The name of a lab or a service.
    ServiceName(check_service, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", SERVICE_MAX);
    /// The name of something in Vault. Vault lowers the names of policies and AppRoles by itself, so
    /// that two that differ only by case would be one.
    VaultName(check_vault, "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", NAME_MAX);
    /// The path of a mount in Vault.
    MountPath(check_mount, "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", NAME_MAX);
    /// The name of a database inside a server: one that needs no quoting.
    DatabaseName(check_database, "^[a-z_][a-z0-9_]*$", 63);
    /// The name of an account of a database that stays.
    AccountName(check_account, "^[a-z_][a-z0-9_-]*$", ACCOUNT_MAX);
    /// The name of a container image with tag or digest.
    Image(check_image, "^[A-Za-z0-9][A-Za-z0-9._/:@-]*$", 255);
}

pub(super) fn check_service(text: &str) -> Result<(), Refusal> {
    check(text, SERVICE_MAX, "lowercase letters, digits and `-`", |c| c == '-')
}

fn check_vault(text: &str) -> Result<(), Refusal> {
    check(text, NAME_MAX, "lowercase letters, digits, `-`, `_` and `.`", |c| "-_.".contains(c))
}

fn check(text: &str, max: usize, rule: &str, extra: impl Fn(char) -> bool) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = text.len() <= max
        && text.chars().all(|c| plain(c) || extra(c))
        && text.starts_with(plain)
        && text.ends_with(plain);
    if valid {
        return Ok(());
    }
    let message =
        format!("`{text}` cannot be a name: at most {max} {rule}, a letter or digit first and last");
    Err((message, sanitised(text, max, extra).map(|better| format!("write `{better}`"))))
}

fn check_mount(text: &str) -> Result<(), Refusal> {
    const RESERVED: &[&str] = &["sys", "auth", "identity", "cubbyhole"];
    let segment_valid = |segment: &str| {
        !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    if text.len() > NAME_MAX || !text.split('/').all(segment_valid) {
        let help = "letters, digits, `-` and `_`, with `/` in between";
        return Err((format!("`{text}` cannot be the path of a mount"), Some(help.to_owned())));
    }
    if text.split('/').next().is_some_and(|first| RESERVED.contains(&first)) {
        let help = "leave `mount` out, or write `database`";
        return Err((format!("Vault keeps the path `{text}` to itself"), Some(help.to_owned())));
    }
    Ok(())
}

/// Whether a database inside a server may have this name, which needs no quoting then.
pub(super) fn check_database(text: &str) -> Result<(), Refusal> {
    const SYSTEM: &[&str] = &[
        "postgres",
        "template0",
        "template1",
        "mysql",
        "information_schema",
        "performance_schema",
        "sys",
        "test",
    ];
    let valid = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !valid {
        let help = "at most 63 lowercase letters, digits and `_`, no digit first";
        return Err((format!("`{text}` cannot be the name of a database"), Some(help.to_owned())));
    }
    if SYSTEM.contains(&text) {
        let help = "name the application's own database, such as `database: app`";
        return Err((format!("`{text}` belongs to the database server"), Some(help.to_owned())));
    }
    Ok(())
}

fn check_account(text: &str) -> Result<(), Refusal> {
    /// Superusers, Vault's own account, and the one for emergencies.
    const TAKEN: &[&str] = &[
        "postgres",
        "root",
        "mysql",
        "mariadb",
        "public",
        super::model::ADMIN_USER,
        super::model::BREAK_GLASS_USER,
    ];
    let valid = text.len() <= ACCOUNT_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
    if !valid {
        let help = "at most 32 lowercase letters, digits, `_` and `-`, no digit first";
        return Err((format!("`{text}` cannot be the name of an account"), Some(help.to_owned())));
    }
    if TAKEN.contains(&text) || ["v-", "pg_", "mysql.", "mariadb."].iter().any(|own| text.starts_with(own)) {
        let help = "write a name of the application's own, such as `batch`";
        return Err((
            format!("the account `{text}` belongs to the server or to Vault"),
            Some(help.to_owned()),
        ));
    }
    Ok(())
}

fn check_image(text: &str) -> Result<(), Refusal> {
    let valid = text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c));
    if valid {
        return Ok(());
    }
    let help = "write it as NAME:TAG or NAME@sha256:DIGEST";
    Err((format!("`{text}` cannot be the name of a container image"), Some(help.to_owned())))
}

/// `pg-read` as `PG_READ`, the beginning of the names of its environment variables: upper case,
/// everything else than letters and digits as `_`.
pub fn variable_name(name: &str) -> String {
    let upper = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    let name: String = upper.collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The name of a lab made out of any text, such as a folder's name.
pub(super) fn lab_name(text: &str) -> Option<String> {
    sanitised(text, SERVICE_MAX, |c| c == '-')
}

fn sanitised(text: &str, max: usize, extra: impl Fn(char) -> bool) -> Option<String> {
    let mut name = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() || extra(c) {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let start = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let cut = &start[..start.len().min(max)];
    let name = cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_become_variables() {
        assert_eq!(variable_name("pg-read"), "PG_READ");
        assert_eq!(variable_name("3.x"), "_3_X");
    }

    #[test]
    fn folder_names_become_lab_names() {
        assert_eq!(lab_name("My Notes App!").as_deref(), Some("my-notes-app"));
        assert_eq!(lab_name("..").as_deref(), None);
        assert_eq!(lab_name("日本").as_deref(), None);
        assert_eq!(lab_name(&"x".repeat(99)).map(|name| name.len()), Some(SERVICE_MAX));
    }

    proptest! {
        #[test]
        fn a_made_name_is_a_valid_one(text in ".{0,80}") {
            if let Some(name) = lab_name(&text) {
                prop_assert_eq!(check_service(&name), Ok(()));
                // As `--name` takes it.
                prop_assert!(crate::state::valid_lab_name(&name));
            }
        }
    }
}
