//! Events read back from the lines they were written as.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::Value;

use super::plain::lines;
use super::{EventKind, KeeperEvent, LabEvent, Outcome};

/// A line of `events.jsonl` as people read it, with its time (UTC) before it; `None` for events that
/// say nothing once they are over, and for lines that are none.
pub fn readable(line: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = match parse(&value) {
        Some(event) => {
            let mut text = lines(&event.kind);
            // On a terminal the error comes last and once; here this is where it is.
            if let EventKind::StepFinished { outcome: Outcome::Failed { error }, .. } = &event.kind {
                error.lines().for_each(|line| text += &format!("   {line}\n"));
            }
            text
        }
        None => other(&value)?,
    };
    let at = at(&value)?.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let mut lines = text.lines();
    let mut shown = format!("{at} {}\n", lines.next()?);
    lines.for_each(|line| shown += &format!("{:width$} {line}\n", "", width = at.len()));
    Some(shown)
}

/// When the event of a line happened.
pub fn time_of(line: &str) -> Option<Timestamp> {
    at(&serde_json::from_str(line).ok()?)
}

fn at(value: &Value) -> Option<Timestamp> {
    value["at"].as_str()?.parse().ok()
}

/// The kinds that this version shows in words of their own.
fn parse(value: &Value) -> Option<LabEvent> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let kind = match value["event"].as_str()? {
        "step_started" => EventKind::StepStarted { step: text("step")?, title: text("title")? },
        "step_abandoned" => EventKind::StepAbandoned { step: text("step")? },
        "step_finished" => EventKind::StepFinished {
            step: text("step")?,
            title: text("title")?,
            outcome: match value["outcome"].as_str()? {
                "changed" => Outcome::changed(text("detail").unwrap_or_default()),
                "unchanged" => Outcome::Unchanged,
                "proven" => Outcome::proven(text("detail")?),
                "failed" => Outcome::Failed { error: text("error")? },
                _ => return None,
            },
            took: Duration::try_from_secs_f64(value["took_ms"].as_f64()? / 1e3).ok()?,
        },
        "service_log" => EventKind::ServiceLog {
            service: text("service")?,
            lines: value["lines"].as_array()?.iter().filter_map(|l| l.as_str().map(Into::into)).collect(),
        },
        "keeper" => EventKind::Keeper(KeeperEvent::deserialize(value).ok()?),
        "note" => EventKind::Note { message: text("message")? },
        "warning" => EventKind::Warning { message: text("message")? },
        _ => return None,
    };
    Some(LabEvent { at: at(value)?, kind })
}

/// A kind of another version: its name and what it holds.
fn other(value: &Value) -> Option<String> {
    let name = value["event"].as_str()?;
    if name == "progress" {
        return None;
    }
    let members = value.as_object()?.iter().filter(|(key, _)| !matches!(key.as_str(), "at" | "event"));
    let members: Vec<String> = members
        .map(|(key, value)| match value.as_str() {
            Some(text) => format!("{key}={text}"),
            None => format!("{key}={value}"),
        })
        .collect();
    Some(format!("   {}: {}", name.replace('_', " "), members.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads_as_it_was_shown() {
        let at: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let shown = |kind: EventKind| {
            let line = serde_json::to_string(&LabEvent { at, kind: kind.clone() }).unwrap();
            assert_eq!(time_of(&line), Some(at));
            readable(&line)
        };
        let finished = |outcome| EventKind::StepFinished {
            step: "s".into(),
            title: "Rotate root".into(),
            outcome,
            took: Duration::from_millis(42),
        };
        for (kind, wanted) in [
            (
                finished(Outcome::changed("old password refused")),
                " ✓ Rotate root: old password refused  42 ms\n",
            ),
            (finished(Outcome::Unchanged), " ✓ Rotate root: as it was  42 ms\n"),
            (
                finished(Outcome::Failed { error: "no\nreally".into() }),
                " ✗ Rotate root: failed  42 ms\n                       no\n                       really\n",
            ),
            (EventKind::Note { message: "n".into() }, "   n\n"),
            (
                EventKind::Keeper(KeeperEvent::SecretIdDelivered {
                    approle: "webapp".into(),
                    accessor: "a".into(),
                    reason: "its time had come".into(),
                    ttl: 60,
                    took: Duration::from_millis(12),
                }),
                " ✓ secret_id of webapp delivered: its time had come  12 ms\n",
            ),
            (
                EventKind::Keeper(KeeperEvent::RestartFailed {
                    service: "db".into(),
                    error: "no".into(),
                    retry: None,
                }),
                " ! db does not start and is given up: no\n",
            ),
        ] {
            assert_eq!(shown(kind).unwrap(), format!("2026-11-22 10:00:00 {wanted}"));
        }
        assert_eq!(shown(EventKind::StepStarted { step: "s".into(), title: "t".into() }), None);
    }

    #[test]
    fn kinds_of_another_version_are_shown_all_the_same() {
        let line = r#"{"at":"2026-11-22T10:00:00Z","event":"secret_id_turned","approle":"webapp","uses":3}"#;
        assert_eq!(
            readable(line).unwrap(),
            "2026-11-22 10:00:00    secret id turned: approle=webapp, uses=3\n"
        );
        assert_eq!(readable("{\"at\": "), None);
    }
}
