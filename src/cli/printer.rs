//! What reaches standard output, and errors.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;

use super::args::Output;
use super::layout::fit;
use crate::lab::LabError;
use crate::secret::Secret;

/// Prints a command's result.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    output: Output,
}

/// What a command begins with that is not about one lab.
const OF_NO_LAB: [&str; 7] = ["init", "ls", "prune", "server", "completions", "--help", "--version"];

/// A suggested command that means the lab the user meant.
pub fn suggest(command: &str, selector: &str) -> String {
    let mut parts = command.split("vaultlab ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let first = part.split_whitespace().next().unwrap_or_default();
        text.push_str("vaultlab ");
        text.push_str(if OF_NO_LAB.contains(&first) { "" } else { selector });
        text.push_str(part);
    }
    text
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
            Output::Text => write_out(&fit(text(value).to_string())),
        }
    }

    /// Whether the result goes to a program.
    pub fn is_json(self) -> bool {
        self.output == Output::Json
    }
}

/// Writes to standard output, or ends the program.
pub fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        std::process::exit(unwritten(&error));
    }
}

/// The exit code when standard output takes nothing. A reader that went away (`| head`) ends the program as it
/// would any other; what else stands in the way is told.
pub fn unwritten(error: &std::io::Error) -> i32 {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return 141; // 128 + SIGPIPE
    }
    eprintln!(
        "error: cannot write to standard output: {error}\n  next: df -h   # is there room where it goes?"
    );
    11
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
    let next = format!("  next: {}\n", suggest(&error.next_command(), selector));
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.write_all(next.as_bytes()));
}

/// An error as JSON on standard output, for programs that read that and nothing else. People find it
/// on standard error all the same.
pub fn print_error_as_json(message: &str, exit_code: u8, next: &str, log: &[String]) {
    let mut error = serde_json::json!({ "message": message, "exit_code": exit_code, "next": next });
    if !log.is_empty() {
        error["service_log"] = log.into();
    }
    write_out(&format!("{:#}\n", serde_json::json!({ "error": error })));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_of_a_lab_say_which() {
        let selector = "-f 'a b.yaml' ";
        assert_eq!(
            suggest("vaultlab down --volumes && vaultlab up", selector),
            "vaultlab -f 'a b.yaml' down --volumes && vaultlab -f 'a b.yaml' up"
        );
        assert_eq!(suggest("vaultlab init example   # x", selector), "vaultlab init example   # x");
    }
}
