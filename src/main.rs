//! The `vaultlab` program.

use std::io::IsTerminal as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A server's log is what it is there for; a command tells what it does by itself.
    let level =
        if std::env::args().nth(1).is_some_and(|command| command == "server") { "info" } else { "error" };
    let filter = std::env::var("VAULTLAB_LOG").unwrap_or_else(|_| level.to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the asynchronous runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(vaultlab::cli::run(std::env::args_os().collect()))
}
