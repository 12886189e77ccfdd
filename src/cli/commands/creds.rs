use std::process::ExitCode;

use serde_json::json;

use super::Settings;
use crate::cli::layout::table;
use crate::cli::printer::reveal;
use crate::lab::{LabError, Validity};

pub(super) async fn run(
    settings: &Settings,
    role: Option<&str>,
    break_glass: Option<&str>,
) -> Result<ExitCode, LabError> {
    let credential = match break_glass {
        Some(database) => settings.lab()?.break_glass(database).await?,
        None => settings.lab()?.running().await?.credential(role.unwrap_or_default()).await?,
    };
    let url = credential.url();
    let mut shown = json!({
        "role": credential.role,
        "username": credential.username,
        "password": reveal(&credential.password),
        "url": reveal(&url),
    });
    if let (Some(shown), Ok(serde_json::Value::Object(validity))) =
        (shown.as_object_mut(), serde_json::to_value(&credential.validity))
    {
        shown.extend(validity);
    }
    settings.printer().result(&shown, |_| {
        table(&[
            vec!["username".into(), credential.username.clone()],
            vec!["password".into(), reveal(&credential.password).into()],
            vec!["url".into(), reveal(&url).into()],
            match &credential.validity {
                Validity::Lease { lease_id, lease_duration } => {
                    vec!["lease".into(), format!("{lease_id} ({lease_duration} s)")]
                }
                Validity::Lasting {} => vec!["lasts".into(), "until it is changed, outside Vault".into()],
                Validity::Rotation { ttl, rotation_period, .. } => vec![
                    "rotated".into(),
                    format!("every {rotation_period} s, next in {ttl} s (static role: no lease)"),
                ],
            },
        ])
    });
    Ok(ExitCode::SUCCESS)
}
