//! Words as a shell takes them.

use std::borrow::Cow;
use std::path::Path;

/// The text as one word of a command that can be copied into a shell.
pub(crate) fn quote(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(always_quote(text))
}

/// The same, in quotes whether it needs them or not.
pub(crate) fn always_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A path as one word.
pub(crate) fn quote_path(path: &Path) -> String {
    quote(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_needs_quotes_gets_them() {
        for (text, word) in [
            ("lab/é.yaml", "lab/é.yaml"),
            ("sp ace/é", "'sp ace/é'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("~/x", "'~/x'"),
        ] {
            assert_eq!(quote(text), word);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_shell_reads_back_what_was_quoted(text in "[^\0]{0,20}") {
            let echo = format!("printf %s {}", quote(&text));
            let output = std::process::Command::new("sh").args(["-c", &echo]).output().unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }
}
