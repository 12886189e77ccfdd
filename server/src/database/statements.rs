//! Splitting of a role's statements and replacement of their placeholders.
//!
//! Vault's rule for one entry of `creation_statements` and its siblings: it may be base64; what it then holds is
//! either a JSON array of statements or text that is cut at every semicolon, whatever the semicolon stands in.
//! For PostgreSQL an entry with the keyword `END` is not cut, so that function bodies survive.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One statement to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The statement as written, with placeholders: safe to show.
    pub template: String,
    /// The statement with placeholders replaced: may hold a password.
    pub sql: zeroize::Zeroizing<String>,
}

/// Whether entries holding the keyword `END` stay whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// PostgreSQL: an entry with an upper-case `END` outside quotes is one statement.
    KeepWhole,
    /// MySQL: every entry is split.
    Split,
}

/// Splits `entries` into statements and replaces `{{key}}` by its value in each.
///
/// Replacement is textual and happens after splitting, so a semicolon in a value never splits a statement.
pub fn prepare(entries: &[String], values: &[(&str, &str)], blocks: Blocks) -> Vec<Statement> {
    entries
        .iter()
        .flat_map(|entry| split(entry, blocks))
        .map(|template| Statement { sql: zeroize::Zeroizing::new(substitute(&template, values)), template })
        .collect()
}

/// Splits one entry into its statements, trimmed and without empty ones.
pub fn split(entry: &str, blocks: Blocks) -> Vec<String> {
    if blocks == Blocks::KeepWhole && has_end_keyword(entry) {
        return vec![entry.trim().to_owned()];
    }
    let text = decode_base64(entry.trim()).unwrap_or_else(|| entry.trim().to_owned());
    let parts = serde_json::from_str::<Vec<String>>(&text)
        .unwrap_or_else(|_| text.split(';').map(str::to_owned).collect());
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Replaces every `{{key}}` by its value; the values are inserted as they are and not searched again.
pub fn substitute(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        let (before, tail) = rest.split_at(start);
        out.push_str(before);
        let replaced = values.iter().find_map(|(key, value)| {
            let after = tail.strip_prefix("{{")?.strip_prefix(key)?.strip_prefix("}}")?;
            Some((*value, after))
        });
        if let Some((value, after)) = replaced {
            out.push_str(value);
            rest = after;
        } else {
            out.push('{');
            rest = &tail[1..];
        }
    }
    out.push_str(rest);
    out
}

fn decode_base64(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// Looks for the whole word `END` outside quotes. A quoted phrase ends on its own line: an apostrophe in a
/// comment must not hide the rest of the text.
fn has_end_keyword(text: &str) -> bool {
    text.lines().any(|line| {
        let bare = without_quoted(line);
        bare.match_indices("END").any(|(at, word)| {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let before = bare[..at].chars().next_back();
            let after = bare[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    })
}

fn without_quoted(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(['"', '\'']) {
        let quote = if rest[start..].starts_with('"') { '"' } else { '\'' };
        out.push_str(&rest[..start]);
        let inner = &rest[start + 1..];
        if let Some(end) = inner.find(quote) {
            // A space keeps words on both sides apart.
            out.push(' ');
            rest = &inner[end + 1..];
        } else {
            out.push_str(inner);
            rest = "";
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split_mysql(entry: &str) -> Vec<String> {
        split(entry, Blocks::Split)
    }

    #[test]
    fn cuts_at_semicolons_and_drops_empty_parts() {
        assert_eq!(split_mysql("CREATE USER a;\n GRANT b ; ;"), ["CREATE USER a", "GRANT b"]);
        assert!(split_mysql(" ; ").is_empty());
        assert!(split_mysql("").is_empty());
    }

    #[test]
    fn cuts_even_inside_quotes() {
        assert_eq!(split_mysql("SELECT ';'"), ["SELECT '", "'"]);
    }

    #[test]
    fn takes_json_arrays_uncut() {
        assert_eq!(split_mysql(r#"["SELECT ';'", " b "]"#), ["SELECT ';'", "b"]);
    }

    #[test]
    fn takes_base64_of_text_and_of_json() {
        assert_eq!(split_mysql(&STANDARD.encode("a;b")), ["a", "b"]);
        assert_eq!(split_mysql(&STANDARD.encode(r#"["a;b"]"#)), ["a;b"]);
    }

    #[test]
    fn base64_of_something_unreadable_is_taken_as_text() {
        assert_eq!(split_mysql("SELECTAB"), ["SELECTAB"]);
    }

    #[test]
    fn postgresql_blocks_stay_whole() {
        let block = "DO $$ BEGIN PERFORM 1; END $$;";
        assert_eq!(split(block, Blocks::KeepWhole), [block]);
        assert_eq!(split(block, Blocks::Split).len(), 2);
    }

    #[test]
    fn end_must_be_a_bare_upper_case_word() {
        for cut in ["APPEND; x", "end; x", "SELECT 'END'; x", "\"END\"; x", "END_; x"] {
            assert_eq!(split(cut, Blocks::KeepWhole).len(), 2, "{cut}");
        }
        for whole in ["'a' ; END 'b'", "-- don't\nx; END", "x;END;"] {
            assert_eq!(split(whole, Blocks::KeepWhole).len(), 1, "{whole}");
        }
    }

    #[test]
    fn replaces_after_splitting_and_never_again_inside_values() {
        let entries = ["A '{{name}}' {{password}};B {{ name }} {{other}}".to_owned()];
        let made = prepare(&entries, &[("name", "u;{{password}}"), ("password", "p")], Blocks::Split);
        assert_eq!(made.len(), 2);
        assert_eq!(*made[0].sql, "A 'u;{{password}}' p");
        assert_eq!(made[0].template, "A '{{name}}' {{password}}");
        assert_eq!(*made[1].sql, "B {{ name }} {{other}}");
    }

    proptest! {
        #[test]
        fn splitting_never_panics_and_yields_trimmed_parts(text in ".{0,200}") {
            for blocks in [Blocks::KeepWhole, Blocks::Split] {
                for part in split(&text, blocks) {
                    prop_assert_eq!(part.trim(), part.as_str());
                }
            }
        }

        #[test]
        fn text_without_placeholders_is_untouched(text in "[^{]{0,100}") {
            prop_assert_eq!(substitute(&text, &[("name", "x")]), text);
        }
    }
}
