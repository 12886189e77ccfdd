//! SQL named or written in the lab file.

use super::Input;
use crate::spec::decode::{At, Problems, nearest};
use crate::spec::diagnostic::{Diagnostic, Place};
use crate::spec::model::{Engine, SqlText};
use crate::spec::sql::{Kind, is_blank, pieces, resolve_delimiters, runs_whole, strip_comments};
use crate::spec::wire::Sql;

/// What a role's statements are for, which decides what Vault fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Making an account.
    Create,
    /// Removing one.
    Revoke,
    /// Extending one.
    Renew,
    /// Replacing the password of one that stays.
    Rotate,
}

impl Use {
    fn placeholders(self) -> &'static [&'static str] {
        match self {
            Self::Create => &["name", "username", "password", "expiration"],
            Self::Revoke => &["name", "username"],
            Self::Renew => &["name", "username", "expiration"],
            Self::Rotate => &["name", "username", "password"],
        }
    }
}

/// SQL with what is needed to point into it.
struct Found<'p> {
    sql: SqlText,
    /// The file the text is in, if it isn't the lab file.
    file: Option<String>,
    at: &'p At<Sql>,
}

impl Found<'_> {
    /// Notes a problem at this byte of the text.
    fn problem(&self, offset: usize, len: usize, message: &str, help: &str, problems: &mut Problems<'_>) {
        let place = Place::at_offset(&self.sql.text, offset, len);
        match (&self.file, &self.at.value) {
            (Some(file), _) => {
                problems.push(Diagnostic::new(file, &self.sql.text, place, message).help(help));
            }
            (None, Sql::Inline(inline)) => {
                problems.add_help(problems.inside(&inline.sql, place), message, help);
            }
            (None, Sql::File(_)) => problems.add_help(self.at.place, message, help),
        }
    }
}

fn find<'p>(at: &'p At<Sql>, input: &Input<'_>, problems: &mut Problems<'_>) -> Option<Found<'p>> {
    match &at.value {
        Sql::File(name) => match input.files.read(name) {
            Ok(content) => {
                let sql = SqlText { origin: content.origin, text: content.text };
                Some(Found { sql, file: Some(content.shown), at })
            }
            Err(error) => {
                match error.help {
                    Some(help) => problems.add_help(at.place, error.message, help),
                    None => problems.add(at.place, error.message),
                }
                None
            }
        },
        Sql::Inline(inline) => {
            let origin = format!("{}:{}", input.shown, inline.sql.place.line);
            let sql = SqlText { origin, text: inline.sql.value.clone() };
            Some(Found { sql, file: None, at })
        }
    }
}

/// SQL that is run once on the server. Without an engine, which decides how SQL is read, only that it is
/// there is checked.
pub(super) fn script(
    at: &At<Sql>,
    engine: Option<Engine>,
    input: &Input<'_>,
    problems: &mut Problems<'_>,
) -> Option<SqlText> {
    let mut found = find(at, input, problems)?;
    let engine = engine?;
    let usable = check_text(&found, engine, problems);
    found.sql.text = resolve_delimiters(&found.sql.text, engine).into_owned();
    usable.then_some(found.sql)
}

/// Statements that Vault runs for each credential; without their comments.
pub(super) fn role_statements(
    at: &At<Sql>,
    usage: Use,
    engine: Engine,
    input: &Input<'_>,
    problems: &mut Problems<'_>,
) -> Option<SqlText> {
    let mut found = find(at, input, problems)?;
    if !check_text(&found, engine, problems) {
        return None;
    }
    let stripped = strip_comments(&found.sql.text, engine);
    check_placeholders(&found, &stripped, usage, problems);
    check_splitting(&found, engine, problems);
    found.sql.text = stripped;
    Some(found.sql)
}

/// Notes text that is blank or has a quote that never ends.
fn check_text(found: &Found<'_>, engine: Engine, problems: &mut Problems<'_>) -> bool {
    let text = &found.sql.text;
    let mut offset = 0;
    for (kind, piece) in pieces(text, engine) {
        if kind == Kind::Open {
            let message = "this quote or comment has no end";
            found.problem(offset, 1, message, "close it", problems);
            return false;
        }
        offset += piece.len();
    }
    if is_blank(text, engine) {
        let name = match &found.at.value {
            Sql::File(name) => format!("`{name}` holds"),
            Sql::Inline(_) => "this holds".to_owned(),
        };
        let help = "write a statement, or remove the key";
        problems.add_help(found.at.place, format!("{name} no SQL statement"), help);
        return false;
    }
    true
}

/// Notes what Vault would not fill in, and what it should but isn't there.
fn check_placeholders(found: &Found<'_>, stripped: &str, usage: Use, problems: &mut Problems<'_>) {
    let known = usage.placeholders();
    let text = &found.sql.text;
    // What was misspelt isn't missing as well.
    let mut meant = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("{{").map(|step| at + step) {
        let Some(len) = text[start..].find("}}").map(|end| end + 2) else { break };
        if problems.is_full() {
            break;
        }
        let name = &text[start + 2..start + len - 2];
        if !known.contains(&name) {
            let message = format!("Vault does not know {{{{{name}}}}} here");
            let list = known.iter().map(|name| format!("{{{{{name}}}}}")).collect::<Vec<_>>();
            let list = list.join(", ");
            let nearest = nearest(name.trim(), known.iter().copied());
            let help = match nearest {
                Some(nearest) => format!("did you mean {{{{{nearest}}}}}? Vault fills in {list}"),
                None => format!("Vault fills in {list}"),
            };
            meant.extend(nearest);
            let chars = text[start..start + len].chars().count();
            found.problem(start, chars, &message, &help, problems);
        }
        at = start + len;
    }
    let has = |name: &str| stripped.contains(&format!("{{{{{name}}}}}")) || meant.contains(&name);
    let mut require = |present: bool, what: &str, why: &str| {
        if !present {
            let message = format!("these statements lack {what}: {why}");
            problems.add_help(found.at.place, message, format!("put {what} where it belongs"));
        }
    };
    require(has("name") || has("username"), "{{name}}", "Vault fills in the account's name there");
    if matches!(usage, Use::Create | Use::Rotate) {
        require(has("password"), "{{password}}", "nobody could log in to the account");
    }
}

/// Notes a `;` inside quotes where Vault splits at every `;`.
fn check_splitting(found: &Found<'_>, engine: Engine, problems: &mut Problems<'_>) {
    let text = &found.sql.text;
    if engine == Engine::Postgres && runs_whole(text) {
        return;
    }
    let help = if engine == Engine::Postgres {
        "with the word END (in capitals, outside of quotes) Vault runs the text as it is"
    } else {
        "move the statements into a procedure of the schema, and CALL it"
    };
    let mut offset = 0;
    for (kind, piece) in pieces(text, engine) {
        if problems.is_full() {
            break;
        }
        if matches!(kind, Kind::Quoted | Kind::Dollar) && piece.contains(';') {
            let inside = offset + piece.find(';').unwrap_or(0);
            let message = "Vault splits statements at every `;`, inside quotes too";
            found.problem(inside, 1, message, help, problems);
        }
        offset += piece.len();
    }
}
