//! Names and texts inside SQL, where parameters cannot be used (`CREATE USER`, `ALTER ROLE`).

/// A PostgreSQL identifier.
pub(crate) fn pg_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A PostgreSQL string. The `E` form means the same whatever `standard_conforming_strings` is.
pub(super) fn pg_text(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A MySQL identifier.
pub(super) fn mysql_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A MySQL string. Both ways of quoting `'` work in every `sql_mode`; a backslash does not, so our
/// connections do not run with `NO_BACKSLASH_ESCAPES`.
pub(super) fn mysql_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_be_closed_from_inside() {
        assert_eq!(pg_name(r#"a"b"#), r#""a""b""#);
        assert_eq!(pg_text(r"a'b\'"), r"E'a''b\\'''");
        assert_eq!(mysql_name("a`b"), "`a``b`");
        assert_eq!(mysql_text(r"a'b\"), r"'a''b\\'");
    }
}
