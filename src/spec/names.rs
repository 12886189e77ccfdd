//! What names may look like.

use super::decode::{At, Problems};

/// Longest name of a lab: paths and container names are made of it.
pub(super) const LAB_NAME_MAX: usize = 40;
/// Longest name of anything else.
const NAME_MAX: usize = 64;

/// Notes what is wrong with the name of a lab or a service.
pub(super) fn check_service_name(name: &At<String>, what: &str, problems: &mut Problems<'_>) {
    let rule = "lowercase letters, digits and `-`";
    check(name, what, LAB_NAME_MAX, rule, |c| c == '-', problems);
}

/// Notes what is wrong with the name of something in Vault. Vault lowers the names of policies and
/// AppRoles by itself, so that two that differ only by case would be one.
pub(super) fn check_vault_name(name: &At<String>, what: &str, problems: &mut Problems<'_>) {
    let rule = "lowercase letters, digits, `-`, `_` and `.`";
    check(name, what, NAME_MAX, rule, |c| "-_.".contains(c), problems);
}

fn check(
    name: &At<String>,
    what: &str,
    max: usize,
    rule: &str,
    extra: impl Fn(char) -> bool,
    problems: &mut Problems<'_>,
) {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let text = &name.value;
    let valid = text.len() <= max
        && text.chars().all(|c| plain(c) || extra(c))
        && text.starts_with(plain)
        && text.ends_with(plain);
    if !valid {
        let message = format!(
            "`{text}` cannot be the name of {what}: at most {max} {rule}, a letter or digit first \
             and last"
        );
        match sanitised(text, max, extra) {
            Some(better) => problems.add_help(name.place, message, format!("write `{better}`")),
            None => problems.add(name.place, message),
        }
    }
}

/// The name of a lab made out of any text, such as a folder's name.
pub(super) fn lab_name(text: &str) -> Option<String> {
    sanitised(text, LAB_NAME_MAX, |c| c == '-')
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

/// Notes what is wrong with the path of a mount in Vault.
pub(super) fn check_mount(mount: &At<String>, problems: &mut Problems<'_>) {
    const RESERVED: &[&str] = &["sys", "auth", "identity", "cubbyhole"];
    let text = &mount.value;
    let segment_valid = |segment: &str| {
        !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    if text.len() > NAME_MAX || !text.split('/').all(segment_valid) {
        let message = format!("`{text}` cannot be the path of a mount");
        let help = "letters, digits, `-` and `_`, with `/` in between";
        problems.add_help(mount.place, message, help);
    } else if text.split('/').next().is_some_and(|first| RESERVED.contains(&first)) {
        let message = format!("Vault keeps the path `{text}` to itself");
        problems.add_help(mount.place, message, "leave `mount` out, or write `database`");
    }
}

/// Notes what is wrong with the name of a database inside a server: one that needs no quoting.
pub(super) fn check_database(name: &At<String>, problems: &mut Problems<'_>) {
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
    let text = &name.value;
    let valid = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !valid {
        let message = format!("`{text}` cannot be the name of a database");
        let help = "at most 63 lowercase letters, digits and `_`, no digit first";
        problems.add_help(name.place, message, help);
    } else if SYSTEM.contains(&text.as_str()) {
        let message = format!("`{text}` belongs to the database server");
        problems.add_help(name.place, message, "name the application's own database");
    }
}

/// Notes what is wrong with the name of a container image.
pub(super) fn check_image(image: &At<String>, problems: &mut Problems<'_>) {
    let text = &image.value;
    let valid = text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c));
    if !valid {
        let message = format!("`{text}` cannot be the name of a container image");
        problems.add_help(image.place, message, "write it as NAME:TAG or NAME@sha256:DIGEST");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folder_names_become_lab_names() {
        assert_eq!(lab_name("My Notes App!").as_deref(), Some("my-notes-app"));
        assert_eq!(lab_name("..").as_deref(), None);
        assert_eq!(lab_name("日本").as_deref(), None);
        assert_eq!(lab_name(&"x".repeat(99)).map(|name| name.len()), Some(LAB_NAME_MAX));
    }

    proptest! {
        #[test]
        fn a_made_name_is_a_valid_one(text in ".{0,80}") {
            if let Some(name) = lab_name(&text) {
                let mut problems = Problems::new("f", "");
                let place = crate::spec::diagnostic::Place::START;
                check_service_name(&At { value: name, place }, "a lab", &mut problems);
                prop_assert!(problems.is_empty());
            }
        }
    }
}
