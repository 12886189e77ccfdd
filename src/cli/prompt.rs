//! Asking at the terminal for what must not be seen.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::secret::Secret;
use crate::state::Purpose;

/// Asks for the passphrase of a key store, twice when it is a new one. Without a terminal there is
/// nobody to ask.
pub(super) fn passphrase(store: &Path, purpose: Purpose) -> io::Result<Option<Secret>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    let first = ask(&terminal, &format!("Passphrase for {}: ", store.display()))?;
    if purpose == Purpose::Choose && ask(&terminal, "The same again: ")? != first {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the two differ"));
    }
    Ok(Some(first))
}

/// One line, typed unseen. Ctrl-C ends the question: the program's own way of taking it would wait for
/// the line.
fn ask(mut terminal: &File, question: &str) -> io::Result<Secret> {
    terminal.write_all(question.as_bytes())?;
    let quiet = Quiet::begin(terminal)?;
    let mut line = zeroize::Zeroizing::new(Vec::new());
    let mut byte = [0];
    let result = loop {
        if terminal.read(&mut byte)? == 0 {
            break Ok(());
        }
        match byte[0] {
            b'\r' | b'\n' | 0x04 => break Ok(()),
            0x03 => break Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            0x08 | 0x7f => {
                // A character may be several bytes.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte => line.push(byte),
        }
    };
    drop(quiet);
    terminal.write_all(b"\n")?;
    result?;
    Ok(Secret::new(String::from_utf8_lossy(&line).into_owned()))
}

/// A terminal that shows nothing and gives every key as it is typed, until this is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, SetArg::TCSANOW, &self.before);
    }
}
