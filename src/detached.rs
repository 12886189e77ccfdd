//! Programs that outlive the one that starts them: services of the host, and keepers.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use process_wrap::std::{ChildWrapper, CommandWrap, ProcessSession};

/// The first file descriptor behind the standard ones.
const FIRST_OTHER: std::ffi::c_int = 3;

/// Starts a program in a session of its own, with its standard files and no others: what whoever called us
/// left open, such as the lock of `flock` or the pipe of a CI job, is not held open for as long as a lab is
/// up.
pub(crate) fn spawn(mut command: Command) -> std::io::Result<Box<dyn ChildWrapper>> {
    let close_others = || {
        close_fds::set_fds_cloexec_threadsafe(FIRST_OTHER, &[]);
        Ok(())
    };
    #[expect(unsafe_code, reason = "it runs between fork and exec")]
    // SAFETY: that function is made to be called there: it takes no lock and no memory.
    unsafe {
        command.pre_exec(close_others);
    }
    CommandWrap::from(command).wrap(ProcessSession).spawn()
}
