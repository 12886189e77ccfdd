use std::process::ExitCode;

use super::{Settings, interrupted};
use crate::cli::printer::write_out;
use crate::lab::{EventsWanted, LabError};
use crate::report::readable;

pub(super) async fn run(settings: &Settings, wanted: &EventsWanted) -> Result<ExitCode, LabError> {
    let mut events = settings.known_lab()?.events(wanted)?;
    let json = settings.printer().is_json();
    let print = async {
        while let Some(line) = events.next().await? {
            if json {
                write_out(&format!("{line}\n"));
            } else if let Some(text) = readable(&line) {
                write_out(&text);
            }
        }
        Ok::<_, LabError>(())
    };
    tokio::select! {
        result = print => result?,
        () = interrupted() => {}
    }
    Ok(ExitCode::SUCCESS)
}
