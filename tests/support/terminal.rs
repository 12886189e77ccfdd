//! A terminal of a test's own, and a program that somebody sits in front of.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::termios::{LocalFlags, tcgetattr};
use process_wrap::std::{ChildWrapper, CommandWrap, ProcessSession};

use super::eventually;

/// A program on a terminal.
pub struct Terminal {
    keyboard: File,
    /// Held open, so that what the program wrote last can be read after it has ended.
    screen: Option<OwnedFd>,
    seen: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    child: Box<dyn ChildWrapper>,
}

impl Terminal {
    /// Starts it as the only one in a session that this is the terminal of, as a shell on it would.
    pub fn run(program: &Command) -> Self {
        let pair = nix::pty::openpty(None, None).expect("a terminal");
        for side in [&pair.master, &pair.slave] {
            // What the program leaves running must not hold it open.
            fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a terminal of this test's alone");
        }
        let place = nix::unistd::ttyname(&pair.slave).expect("its name");
        let mut command = Command::new("sh");
        // The first terminal that the leader of a session opens becomes the session's.
        command.args(["-c", r#"exec <>"$0" >&0 2>&0; exec "$@""#]).arg(place);
        command.arg(program.get_program()).args(program.get_args());
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("TERM", "dumb").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = CommandWrap::from(command).wrap(ProcessSession).spawn().expect("the program");
        let keyboard = File::from(pair.master);
        let mut screen = keyboard.try_clone().expect("the screen");
        let seen = Arc::new(Mutex::new(String::new()));
        let shown = seen.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It ends with an error when nobody has the terminal any more.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                shown.lock().expect("the screen").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { keyboard, screen: Some(pair.slave), seen, reader: Some(reader), child }
    }

    /// Waits until this is to be read.
    pub fn shows(&self, text: &str) {
        eventually(&format!("{text:?} on the screen"), Duration::from_secs(60), || {
            self.seen().contains(text)
        });
    }

    /// Types it.
    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the keyboard");
    }

    /// Waits until the terminal shows what is typed, or no longer does.
    pub fn echoes(&self, wanted: bool) {
        eventually("the terminal's mode", Duration::from_secs(20), || {
            let mode = tcgetattr(&self.keyboard).expect("its mode");
            mode.local_flags.contains(LocalFlags::ECHO) == wanted
        });
    }

    /// What was shown up to now.
    pub fn seen(&self) -> String {
        self.seen.lock().expect("the screen").clone()
    }

    /// Waits for its end; gives its exit code and everything that was shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().expect("its end").code();
        drop(self.screen.take());
        drop(self.reader.take().map(std::thread::JoinHandle::join));
        (code, self.seen())
    }
}
