//! The `vaultlab` program.

use std::io::IsTerminal as _;
use std::process::ExitCode;

/// A request to the embedded server is some hundred small allocations, and the system's allocator took
/// a quarter of the time of a login. Without huge pages (`no_thp`), which cost an idle server 10 MB and
/// made nothing faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    // A server's log is what it is there for; a command tells what it does by itself.
    let level = if command == "server" { "info" } else { "error" };
    let filter = std::env::var("VAULTLAB_LOG").unwrap_or_else(|_| level.to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // A keeper waits most of the time: one thread is plenty, and small.
    let runtime = match command.as_str() {
        "supervise" => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Runtime::new(),
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the asynchronous runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(vaultlab::cli::run(std::env::args_os().collect()))
}
