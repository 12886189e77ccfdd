use std::path::Path;
use std::process::ExitCode;

use super::Settings;
use crate::lab::{AgentConfig, LabError};
use crate::shell::quote_path;

pub(super) async fn run(
    settings: &Settings,
    approle: Option<&str>,
    folder: Option<&Path>,
) -> Result<ExitCode, LabError> {
    let written = settings.lab()?.running().await?.write_agent_config(approle, folder)?;
    settings.printer().result(&written, |written| text(written));
    Ok(ExitCode::SUCCESS)
}

fn text(written: &[AgentConfig]) -> String {
    let mut text = String::new();
    for agent in written {
        let roles = if agent.roles.is_empty() { "no credentials".into() } else { agent.roles.join(", ") };
        text += &format!("wrote {}  ({roles})\nwrote {}\n", agent.config.display(), agent.template.display());
    }
    match written.first() {
        Some(first) => text + &format!("\nNext: vault agent -config={}\n", quote_path(&first.config)),
        None => "The lab has no AppRoles.\n".into(),
    }
}
