use std::process::ExitCode;

use serde_json::json;

use super::Settings;
use crate::cli::printer::{reveal, table};
use crate::lab::LabError;

pub(super) async fn run(settings: &Settings, role: &str) -> Result<ExitCode, LabError> {
    let credential = settings.lab()?.running().await?.credential(role).await?;
    let url = credential.url();
    let shown = json!({
        "role": credential.role,
        "username": credential.username,
        "password": reveal(&credential.password),
        "url": reveal(&url),
        "lease_id": credential.lease_id,
        "lease_duration": credential.lease_duration,
    });
    settings.printer().result(&shown, |_| {
        table(&[
            vec!["username".into(), credential.username.clone()],
            vec!["password".into(), reveal(&credential.password).into()],
            vec!["url".into(), reveal(&url).into()],
            vec!["lease".into(), format!("{} ({} s)", credential.lease_id, credential.lease_duration)],
        ])
    });
    Ok(ExitCode::SUCCESS)
}
