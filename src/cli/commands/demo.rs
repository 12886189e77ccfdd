use std::process::ExitCode;
use std::time::Duration;

use super::{Settings, interrupted};
use crate::demo::{DemoOptions, DemoResult};
use crate::lab::LabError;

/// The exit code when a check failed; the same as a proof's in `up`.
const NOT_PROVEN: u8 = 7;

pub(super) async fn rotate(
    settings: &Settings,
    watch: Option<Duration>,
    retain: bool,
) -> Result<ExitCode, LabError> {
    let lab = settings.lab_retaining(retain)?;
    let result = lab.demo_rotate(&DemoOptions { watch }, interrupted()).await?;
    settings.printer().result(&result, text);
    Ok(if result.passed { ExitCode::SUCCESS } else { ExitCode::from(NOT_PROVEN) })
}

fn text(result: &DemoResult) -> String {
    let mut text: String = result
        .checks
        .iter()
        .map(|check| format!("{} {}: {}\n", if check.passed { '✓' } else { '✗' }, check.check, check.seen))
        .collect();
    let failed = result.checks.iter().filter(|check| !check.passed).count();
    text += &match failed {
        0 => format!("\nAll {} checks passed on lab {}.\n", result.checks.len(), result.lab),
        failed => format!("\n{failed} of {} checks FAILED on lab {}.\n", result.checks.len(), result.lab),
    };
    text
}
