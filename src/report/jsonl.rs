//! Events as JSON lines, for files and for `--progress json`.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use super::{LabEvent, Reporter};

/// Writes each event as one line of JSON.
pub struct JsonLines<W> {
    out: Mutex<W>,
}

impl<W: Write + Send> JsonLines<W> {
    /// Lines go to `out`, each in one write.
    pub fn new(out: W) -> Self {
        Self { out: Mutex::new(out) }
    }
}

impl<W: Write + Send> Reporter for JsonLines<W> {
    fn event(&self, event: &LabEvent) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk or a closed pipe must not stop the work that is reported on.
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}
