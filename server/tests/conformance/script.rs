//! The form of a file of cases: requests, each with the answer to expect.
//!
//! ```text
//! # A comment: what follows, or why flavours differ.
//! POST sys/mounts/kv {"type": "kv"}
//! < 204
//! GET kv/none
//! > token $WEAK
//! < 403 {"errors": ["permission denied"]}
//! <old 400 {"errors": ["missing client token"]}
//! ```
//!
//! After a request, `>` lines are options: `token T`, `wrap TTL`, `header NAME VALUE`, `raw BODY`, and
//! `save NAME PATH` keeps a part of the answer for `$NAME` in later lines; `until PATH VALUE` asks again for as
//! long as that part of a good answer is another. `<` is the answer of today's
//! Vault; `<old` replaces it for versions before 1.14 and `<v1.9` for those up to 1.9, `<bao` for OpenBao,
//! `<embedded` for the embedded server where it knowingly does otherwise; what OpenBao does otherwise
//! everywhere is in `level.rs`. A line that begins with two spaces goes on with the one before.

use serde_json::Value;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The server in this repository.
    Embedded,
    /// Vault 1.x.
    Vault(u32),
    /// OpenBao.
    Bao,
}

impl Flavour {
    /// A Vault before 1.14.
    pub fn is_old(self) -> bool {
        matches!(self, Self::Vault(minor) if minor < 14)
    }
}

/// A request with its answers.
#[derive(Debug, Default)]
pub struct Step {
    /// Line in the file.
    pub line: usize,
    /// Method.
    pub method: String,
    /// Path below `/v1/`, with the query.
    pub path: String,
    /// Body; empty for none.
    pub body: String,
    /// Token instead of root's.
    pub token: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// What to keep of the answer: name and path.
    pub save: Vec<(String, String)>,
    /// What a good answer has to say, and where, before it is taken.
    pub until: Option<(String, String)>,
    answers: Vec<(String, Expected)>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Status.
    pub status: u16,
    /// Body; none for an empty one.
    pub body: Option<Value>,
}

impl Step {
    /// The answer to expect of a flavour.
    pub fn expected(&self, flavour: Flavour) -> &Expected {
        let of = |tag: &str| self.answers.iter().find(|(found, _)| found == tag).map(|(_, answer)| answer);
        let special = match flavour {
            Flavour::Embedded => of("embedded"),
            Flavour::Bao => of("bao"),
            Flavour::Vault(minor) => {
                of("v1.9").filter(|_| minor < 10).or_else(|| of("old").filter(|_| flavour.is_old()))
            }
        };
        special.or_else(|| of("")).unwrap_or_else(|| panic!("line {}: no answer is expected", self.line))
    }
}

/// Reads a file of cases.
pub fn parse(text: &str) -> Vec<Step> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let (Some(more), Some((_, last))) = (line.strip_prefix("  "), lines.last_mut()) {
            last.push_str(more);
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            lines.push((at + 1, line.to_owned()));
        }
    }
    let mut steps: Vec<Step> = Vec::new();
    for (line, text) in lines {
        if let Some(option) = text.strip_prefix("> ") {
            let step = steps.last_mut().unwrap_or_else(|| panic!("line {line}: an option without a request"));
            add_option(step, line, option);
        } else if let Some(answer) = text.strip_prefix('<') {
            let step = steps.last_mut().unwrap_or_else(|| panic!("line {line}: an answer without a request"));
            let (tag, rest) = answer.split_once(' ').unwrap_or_else(|| panic!("line {line}: no status"));
            let (status, body) = rest.split_once(' ').unwrap_or((rest, ""));
            let body = (!body.is_empty())
                .then(|| serde_json::from_str(body).unwrap_or_else(|error| panic!("line {line}: {error}")));
            let status = status.parse().unwrap_or_else(|_| panic!("line {line}: {status:?} is no status"));
            steps_push(step, line, tag, Expected { status, body });
        } else {
            let (method, rest) = text.split_once(' ').unwrap_or_else(|| panic!("line {line}: no path"));
            let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
            steps.push(Step {
                line,
                method: method.to_owned(),
                path: path.to_owned(),
                body: body.to_owned(),
                ..Step::default()
            });
        }
    }
    steps
}

fn steps_push(step: &mut Step, line: usize, tag: &str, expected: Expected) {
    assert!(["", "old", "v1.9", "bao", "embedded"].contains(&tag), "line {line}: {tag:?} is no flavour");
    step.answers.push((tag.to_owned(), expected));
}

fn add_option(step: &mut Step, line: usize, option: &str) {
    let (name, value) = option.split_once(' ').unwrap_or((option, ""));
    match name {
        "token" => step.token = Some(value.to_owned()),
        "raw" => value.clone_into(&mut step.body),
        "wrap" => step.headers.push(("X-Vault-Wrap-TTL".to_owned(), value.to_owned())),
        "header" => {
            let (name, value) = value.split_once(' ').unwrap_or((value, ""));
            step.headers.push((name.to_owned(), value.to_owned()));
        }
        "save" => {
            let (name, path) = value.split_once(' ').unwrap_or_else(|| panic!("line {line}: no path"));
            step.save.push((name.to_owned(), path.to_owned()));
        }
        "until" => {
            let (path, value) = value.split_once(' ').unwrap_or_else(|| panic!("line {line}: no value"));
            step.until = Some((path.to_owned(), value.to_owned()));
        }
        other => panic!("line {line}: {other:?} is no option"),
    }
}
