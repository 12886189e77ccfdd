//! What reaches standard output, and errors.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;

use super::args::Output;
use crate::lab::LabError;
use crate::secret::Secret;

/// Prints a command's result.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    output: Output,
}

/// A suggested command that means the lab the user meant.
pub fn suggest(command: &str, selector: &str) -> String {
    command.replace("vaultlab ", &format!("vaultlab {selector}"))
}

impl Printer {
    /// Text unless something else was asked for.
    pub fn new(output: Option<Output>) -> Self {
        Self { output: output.unwrap_or_default() }
    }

    /// The value as JSON, or as the text that `text` makes of it.
    pub fn result<T: Serialize, D: Display>(self, value: &T, text: impl FnOnce(&T) -> D) {
        match self.output {
            Output::Json => match serde_json::to_string_pretty(value) {
                Ok(json) => write_out(&format!("{json}\n")),
                Err(error) => eprintln!("error: cannot write the result as JSON: {error}"),
            },
            Output::Text => write_out(&text(value).to_string()),
        }
    }

    /// Whether the result goes to a program.
    pub fn is_json(self) -> bool {
        self.output == Output::Json
    }
}

/// Writes to standard output. A reader that went away (`| head`) ends the program as it would any
/// other.
pub fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(141); // 128 + SIGPIPE
    }
}

/// A text that is shown on purpose: the user asked for the secret.
pub fn reveal(secret: &Secret) -> &str {
    secret.expose()
}

/// An error and the one command to try next.
pub fn print_error(error: &LabError, selector: &str) {
    let mut err = std::io::stderr().lock();
    let text = match error {
        // Its diagnostics say "error" themselves.
        LabError::Spec(error) => format!("{error}\n"),
        error => format!("error: {error}\n"),
    };
    let next = error
        .next_command()
        .map(|next| format!("  next: {}\n", suggest(&next, selector)))
        .unwrap_or_default();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.write_all(next.as_bytes()));
}

/// An error as JSON on standard output, for programs that read that and nothing else. People find it
/// on standard error all the same.
pub fn print_error_as_json(message: &str, exit_code: u8, next: Option<&str>, log: &[String]) {
    let mut error = serde_json::json!({ "message": message, "exit_code": exit_code });
    if let Some(next) = next {
        error["next"] = next.into();
    }
    if !log.is_empty() {
        error["service_log"] = log.into();
    }
    write_out(&format!("{:#}\n", serde_json::json!({ "error": error })));
}

/// Columns that line up: each row's cells, the last one not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(table(&[row(&["a", "bb"]), row(&["ccc", ""])]), "a    bb\nccc\n");
    }
}
