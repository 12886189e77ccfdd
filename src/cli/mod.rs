//! The command line: arguments become plain settings, commands call the library, a printer shows
//! the result. Nothing else lives here.

mod args;
mod commands;
mod layout;
mod memory;
mod printer;
mod prompt;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use args::Cli;

/// Runs the program with these arguments (the first is its name) and gives its exit code.
pub async fn run(arguments: Vec<OsString>) -> ExitCode {
    let wants_json = asks_for_json(&arguments);
    let arguments = go_style(arguments);
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            let next = help_for(&arguments);
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match printed {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => std::process::exit(printer::unwritten(&error)),
                },
                kind => {
                    // That error is the help itself.
                    if kind != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                        eprintln!("  next: {next}");
                    }
                    if wants_json {
                        let text = error.to_string();
                        let message = text.trim().trim_start_matches("error: ");
                        printer::print_error_as_json(message, 2, &next, &[]);
                    }
                    ExitCode::from(2)
                }
            };
        }
    };
    let selector = commands::selector(&cli);
    let json = commands::errors_as_json(&cli);
    match commands::run(cli).await {
        Ok(code) => code,
        Err(error) => {
            printer::print_error(&error, &selector);
            if json {
                let next = printer::suggest(&error.next_command(), &selector);
                let (message, log) = (error.to_string(), error.service_log());
                printer::print_error_as_json(&message, error.exit_code(), &next, log);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// The command that tells how the one that was meant is typed.
fn help_for(arguments: &[OsString]) -> String {
    let all = Cli::command();
    let mut words = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    let meant = words.find_map(|word| all.find_subcommand(word));
    let meant = meant.map(|command| format!("{} ", command.get_name())).unwrap_or_default();
    format!("vaultlab {meant}--help")
}

/// Whether `--output json` is among arguments that cannot be understood as a whole.
fn asks_for_json(arguments: &[OsString]) -> bool {
    let ours = || arguments.iter().take_while(|argument| *argument != "--");
    ours().any(|argument| argument == "--output=json")
        || ours().zip(ours().skip(1)).any(|(option, value)| option == "--output" && value == "json")
}

/// `vaultlab server` takes the options of `vault server`, which Go writes with one dash:
/// `-config=FILE`.
fn go_style(arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_none_or(|command| command != "server") {
        return arguments;
    }
    let double = |argument: OsString| match argument.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
            format!("-{text}").into()
        }
        _ => argument,
    };
    arguments.into_iter().map(double).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_that_is_too_long_is_told_so() {
        let error = Cli::try_parse_from(["vaultlab", "up", "--timeout", "300000d"]).unwrap_err().to_string();
        assert!(error.contains("'300000d'") && error.contains(": out of range"), "{error}");
    }

    /// docs/cli.md, as the arguments say.
    fn reference() -> String {
        fn section(command: &mut clap::Command, path: &str, text: &mut String) {
            let help = command.clone().bin_name(path).term_width(100).render_help().to_string();
            let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
            *text += &format!("\n## {path}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
            let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
            for name in names.iter().filter(|name| *name != "help") {
                if let Some(inner) = command.find_subcommand_mut(name) {
                    section(inner, &format!("{path} {name}"), text);
                }
            }
        }
        let mut command = Cli::command();
        command.build();
        let mut text = "# Commands\n\nGenerated from the program: `make docs`.\n".to_owned();
        section(&mut command, "vaultlab", &mut text);
        text
    }

    #[test]
    fn the_generated_reference_of_commands_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
        if std::env::var_os("VAULTLAB_REGENERATE").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == reference(), "docs/cli.md differs from the program: `make docs` writes it anew");
    }

    #[test]
    fn who_mistypes_a_command_is_sent_to_its_help() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(help_for(&words("vaultlab --name x exec --aprole y -- up")), "vaultlab exec --help");
        assert_eq!(help_for(&words("vaultlab craeds")), "vaultlab --help");
    }

    #[test]
    fn json_is_asked_for_before_a_program_s_own_arguments() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for text in ["vaultlab up --output json --nonsense", "vaultlab --output=json nonsense"] {
            assert!(asks_for_json(&words(text)), "{text}");
        }
        for text in ["vaultlab up --output text", "vaultlab exec -- x --output json"] {
            assert!(!asks_for_json(&words(text)), "{text}");
        }
    }

    #[test]
    fn one_dash_is_enough_for_the_server() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(go_style(words("vaultlab server -config=x -h")), words("vaultlab server --config=x -h"));
        assert_eq!(go_style(words("vaultlab logs -fx")), words("vaultlab logs -fx"));
    }
}
