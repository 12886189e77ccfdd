//! Events on a terminal: a spinner for every step that runs, bars for what has a length.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plain::lines;
use super::{EventKind, LabEvent, Reporter};

/// Draws on standard error.
pub struct Progress {
    screen: MultiProgress,
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Nothing is drawn before the first event.
    pub fn new() -> Self {
        Self { screen: MultiProgress::new(), bars: Mutex::default() }
    }

    fn begin(&self, step: &str, title: &str) {
        let bar = self.screen.add(ProgressBar::new_spinner().with_message(title.to_owned()));
        if let Ok(style) = ProgressStyle::with_template(" {spinner} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        self.bars().insert(step.to_owned(), bar);
    }

    fn advance(&self, step: &str, item: &str, done: u64, total: u64, unit: &str) {
        let mut bars = self.bars();
        let bar = bars.entry(format!("{step}/{item}")).or_insert_with(|| {
            let template = if unit == "bytes" {
                "   {msg:20!} {wide_bar} {bytes}/{total_bytes}"
            } else {
                "   {msg:20!} {wide_bar} {pos}/{len}"
            };
            let bar = self.screen.add(ProgressBar::new(total).with_message(item.to_owned()));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_length(total);
        bar.set_position(done);
    }

    fn end(&self, step: &str) {
        let items = format!("{step}/");
        self.bars().retain(|name, bar| {
            let over = name == step || name.starts_with(&items);
            if over {
                bar.finish_and_clear();
                self.screen.remove(bar);
            }
            !over
        });
    }

    fn bars(&self) -> std::sync::MutexGuard<'_, HashMap<String, ProgressBar>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines broken between words, the rest of each below its text.
fn wrapped(text: &str, width: usize) -> String {
    let rest = textwrap::Options::new(width).subsequent_indent("   ").break_words(false);
    text.lines().map(|line| textwrap::fill(line, &rest)).collect::<Vec<_>>().join("\n")
}

impl Reporter for Progress {
    fn event(&self, event: &LabEvent) {
        match &event.kind {
            EventKind::StepStarted { step, title } => self.begin(step, title),
            EventKind::Progress { step, item, done, total, unit } => {
                self.advance(step, item, *done, *total, unit);
            }
            EventKind::StepFinished { step, .. } | EventKind::StepAbandoned { step } => self.end(step),
            EventKind::ServiceLog { .. }
            | EventKind::Keeper(_)
            | EventKind::Note { .. }
            | EventKind::Warning { .. } => {}
        }
        let text = lines(&event.kind);
        if !text.is_empty() {
            // A terminal that is gone must not stop the work that is reported on.
            let _ = self.screen.println(wrapped(text.trim_end_matches('\n'), textwrap::termwidth()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let _ = self.screen.clear();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_lines_are_broken_between_words() {
        let text = " ✓ Deliver role_id of webapp: delivered\n ! short";
        assert_eq!(super::wrapped(text, 24), " ✓ Deliver role_id of\n   webapp: delivered\n ! short");
    }
}
