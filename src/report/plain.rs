//! Events as lines of text, for pipes and logs.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{EventKind, LabEvent, Outcome, Reporter};

/// Writes one line when a step begins and one when it ends.
pub struct Plain<W> {
    out: Mutex<W>,
}

impl<W: Write + Send> Plain<W> {
    /// Lines go to `out`.
    pub fn new(out: W) -> Self {
        Self { out: Mutex::new(out) }
    }
}

impl<W: Write + Send> Reporter for Plain<W> {
    fn event(&self, event: &LabEvent) {
        let text = match &event.kind {
            EventKind::StepStarted { title, .. } => format!(" • {title} …\n"),
            EventKind::Progress { .. } => return,
            kind => lines(kind),
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed pipe must not stop the work that is reported on.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Passes on only what belongs to an error: the log lines of a service that failed.
pub struct Failures<R>(pub R);

impl<R: Reporter> Reporter for Failures<R> {
    fn event(&self, event: &LabEvent) {
        if matches!(event.kind, EventKind::ServiceLog { .. }) {
            self.0.event(event);
        }
    }
}

/// What an event says once it is over; empty for those that say nothing then.
pub(super) fn lines(kind: &EventKind) -> String {
    match kind {
        EventKind::StepStarted { .. } | EventKind::Progress { .. } | EventKind::StepAbandoned { .. } => {
            String::new()
        }
        EventKind::StepFinished { title, outcome, took, .. } => {
            let (sign, detail) = match outcome {
                Outcome::Changed { detail } | Outcome::Proven { detail } => ('✓', detail.as_str()),
                Outcome::Unchanged => ('✓', "as it was"),
                // The error itself is told once, at the end.
                Outcome::Failed { .. } => ('✗', "failed"),
            };
            let mut line = format!(" {sign} {title}");
            if !detail.is_empty() {
                let _ = write!(line, ": {detail}");
            }
            let _ = writeln!(line, "  {}", seconds(*took));
            line
        }
        EventKind::ServiceLog { service, lines } => {
            let mut text = format!("   last log lines of {service}:\n");
            for line in lines {
                let _ = writeln!(text, "   | {line}");
            }
            text
        }
        EventKind::Keeper(event) => {
            format!(" {} {}\n", if event.is_trouble() { '!' } else { '✓' }, event.said())
        }
        EventKind::Note { message } => format!("   {message}\n"),
        EventKind::Warning { message } => format!(" ! {message}\n"),
    }
}

/// `12 ms`, `0.8 s`, `95 s`.
pub fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s < 0.1 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.2} s"),
        s => format!("{s:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn quiet_is_not_about_the_log_of_a_service_that_failed() {
        let buffer = Buffer::default();
        let quiet = Failures(Plain::new(buffer.clone()));
        for kind in [
            EventKind::Warning { message: "never mind".into() },
            EventKind::ServiceLog { service: "mysql".into(), lines: vec!["boom".into()] },
        ] {
            quiet.event(&LabEvent::now(kind));
        }
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "   last log lines of mysql:\n   | boom\n");
    }

    #[test]
    fn a_step_is_two_lines_and_a_failure_is_marked() {
        let buffer = Buffer::default();
        let plain = Plain::new(buffer.clone());
        let finished = |outcome| EventKind::StepFinished {
            step: "s".into(),
            title: "Rotate root".into(),
            outcome,
            took: Duration::from_millis(42),
        };
        for kind in [
            EventKind::StepStarted { step: "s".into(), title: "Rotate root".into() },
            finished(Outcome::changed("old password refused")),
            finished(Outcome::Failed { error: "no".into() }),
            EventKind::ServiceLog { service: "mysql".into(), lines: vec!["boom".into()] },
        ] {
            plain.event(&LabEvent::now(kind));
        }
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            " • Rotate root …\n ✓ Rotate root: old password refused  42 ms\n ✗ Rotate root: failed  42 ms\n   last log lines of mysql:\n   | boom\n"
        );
    }
}
