use std::process::ExitCode;

use futures_util::StreamExt as _;
use futures_util::stream::select_all;

use super::{Settings, interrupted};
use crate::cli::printer::write_out;
use crate::lab::LabError;

pub(super) async fn run(
    settings: &Settings,
    services: &[String],
    tail: Option<usize>,
    follow: bool,
) -> Result<ExitCode, LabError> {
    let logs = settings.known_lab()?.logs(services, tail, follow).await?;
    let width = logs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let labelled = logs.len() > 1;
    let streams = logs.into_iter().map(|(name, lines)| lines.map(move |line| (name.clone(), line)));
    let print = async {
        if follow {
            let mut all = select_all(streams);
            while let Some((name, line)) = all.next().await {
                show(&name, &line?, labelled, width);
            }
        } else {
            // One service after the other: their lines carry no common clock.
            for mut lines in streams {
                while let Some((name, line)) = lines.next().await {
                    show(&name, &line?, labelled, width);
                }
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

fn show(name: &str, line: &str, labelled: bool, width: usize) {
    if labelled { write_out(&format!("{name:<width$} | {line}\n")) } else { write_out(&format!("{line}\n")) }
}
