use std::process::ExitCode;

use super::Settings;
use crate::cli::layout::table;
use crate::cli::printer::suggest;
use crate::lab::{LabError, LeaseLedger, LedgerEntry};

/// The exit code when something is there that should be gone; the same as a failed proof's.
const ORPHANS: u8 = 7;

pub(super) async fn run(
    settings: &Settings,
    revoke: Option<&str>,
    clean: bool,
) -> Result<ExitCode, LabError> {
    let running = settings.lab()?.running().await?;
    let removed = match revoke {
        Some(wanted) => Some(running.revoke_leases(wanted).await?),
        None if clean => Some(running.clean_leases().await?),
        None => None,
    };
    if let Some(removed) = removed {
        settings.printer().result(&removed, |removed| removed_text(removed, clean));
        return Ok(ExitCode::SUCCESS);
    }
    let ledger = running.leases().await?;
    settings.printer().result(&ledger, |ledger| text(ledger, &settings.selector()));
    Ok(if ledger.orphans().next().is_some() { ExitCode::from(ORPHANS) } else { ExitCode::SUCCESS })
}

fn text(ledger: &LeaseLedger, selector: &str) -> String {
    let mut text = if ledger.entries.is_empty() {
        format!("Lab {} has no leases, and no accounts that Vault made.\n", ledger.lab)
    } else {
        rows(&ledger.entries)
    };
    for unknown in &ledger.unknown {
        text += &format!("\nNot known: {unknown}\n");
    }
    match ledger.orphans().count() {
        0 => text,
        // The rows name programs too: only what is suggested means a lab.
        count => {
            let next = suggest("vaultlab leases --clean", selector);
            format!("{text}\n{count} of them lack the other side.\n\nNext: {next}\n")
        }
    }
}

fn removed_text(removed: &[LedgerEntry], clean: bool) -> String {
    match (removed.is_empty(), clean) {
        (true, true) => "Nothing to clean: every lease has its account, every account its lease.\n".into(),
        (true, false) => "The role has no leases.\n".into(),
        (false, _) => format!("{}\n{} removed, and seen gone.\n", rows(removed), removed.len()),
    }
}

fn rows(entries: &[LedgerEntry]) -> String {
    let mut rows =
        vec![["DATABASE", "ROLE", "ACCOUNT", "LEFT", "WHO", "STATE", "LEASE"].map(String::from).to_vec()];
    rows.extend(entries.iter().map(|entry| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        vec![
            entry.database.clone(),
            or_dash(&entry.role),
            or_dash(&entry.account),
            entry.ttl.map_or("-".into(), left),
            or_dash(&entry.who),
            entry.state.as_str().into(),
            or_dash(&entry.lease_id),
        ]
    }));
    table(&rows)
}

fn left(seconds: i64) -> String {
    match u64::try_from(seconds) {
        Ok(seconds) => vaultlab_server::duration::format(std::time::Duration::from_secs(seconds)),
        Err(_) => "overdue".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::LedgerState;

    #[test]
    fn only_the_suggestion_names_the_lab() {
        let entry = LedgerEntry {
            database: "pg".into(),
            state: LedgerState::AccountWithoutLease,
            role: None,
            account: Some("v-token".into()),
            lease_id: None,
            ttl: None,
            issued: None,
            who: Some("token-vaultlab".into()),
        };
        let ledger = LeaseLedger { lab: "other".into(), entries: vec![entry], unknown: Vec::new() };
        let text = text(&ledger, "--name other ");
        assert!(text.contains("token-vaultlab  "), "{text}");
        assert!(text.contains("Next: vaultlab --name other leases --clean"), "{text}");
    }
}
