//! Tests of this crate run as child processes: to be killed, or to live under a limit.

use std::path::{Path, PathBuf};
use std::process::Command;

const DIR: &str = "VAULTLAB_TEST_CHILD_DIR";

/// The command that runs the ignored test `name` (its full path) with `dir` to work in.
/// `wrapper` is a shell script that ends by executing its arguments.
pub(crate) fn command(name: &str, dir: &Path, wrapper: Option<&str>) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        None => Command::new(program),
        Some(script) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).arg("sh").arg(program);
            shell
        }
    };
    command.args([name, "--exact", "--ignored", "--nocapture"]).arg("--test-threads=1").env(DIR, dir);
    command
}

/// The folder given to [`command`], in the child; `None` when somebody runs ignored tests.
pub(crate) fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Runs a test and passes on its failure with all it printed.
pub(crate) fn run(mut command: Command) {
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Runs a test in which no file can grow beyond 256 blocks of 512 bytes, until it calls
/// [`lift_file_limit`].
pub(crate) fn run_with_file_limit(name: &str, dir: &Path) {
    // The signal that comes with the limit is ignored so that writes fail instead.
    let script = r#"trap "" XFSZ; ulimit -S -f 256; exec "$@""#;
    run(command(name, dir, Some(script)));
}

/// Raises the soft limit of this process again.
pub(crate) fn lift_file_limit() {
    let status = Command::new("prlimit")
        .args(["--fsize=unlimited:unlimited", "--pid"])
        .arg(std::process::id().to_string())
        .status()
        .unwrap();
    assert!(status.success());
}
