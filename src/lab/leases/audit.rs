//! What the audit log tells of credentials: who asked, and (as a hash) which account was made.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::lab::LabError;

/// The credentials in an audit log.
#[derive(Debug, Default)]
pub(super) struct AuditLog {
    /// By the hash of the account's name: the lease.
    leases: HashMap<String, String>,
    /// By lease: who asked.
    who: HashMap<String, String>,
}

impl AuditLog {
    /// Reads a log. One that is not there, or not ours to read, tells nothing.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(Self::default());
            }
            Err(source) => return Err(LabError::File { operation: "read", path: path.into(), source }),
        };
        let mut log = Self::default();
        for line in BufReader::new(file).split(b'\n') {
            let line =
                line.map_err(|source| LabError::File { operation: "read", path: path.into(), source })?;
            log.add(&line);
        }
        Ok(log)
    }

    fn add(&mut self, line: &[u8]) {
        // Most lines are about something else, and parsing is what takes time.
        let has = |needle: &[u8]| line.windows(needle.len()).any(|window| window == needle);
        if !has(b"/creds/") || !has(b"lease_id") {
            return;
        }
        let Ok(entry) = serde_json::from_slice::<Value>(line) else { return };
        let Some(lease) = entry["response"]["secret"]["lease_id"].as_str().filter(|id| !id.is_empty()) else {
            return;
        };
        if let Some(account) = entry["response"]["data"]["username"].as_str() {
            self.leases.insert(account.to_owned(), lease.to_owned());
        }
        let auth = &entry["auth"];
        let approle = auth["metadata"]["role_name"].as_str().map(|name| format!("AppRole {name}"));
        if let Some(who) = approle.or_else(|| auth["display_name"].as_str().map(str::to_owned)) {
            self.who.insert(lease.to_owned(), who);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The lease of the account whose name has this hash.
    pub fn lease_of(&self, hash: &str) -> Option<String> {
        self.leases.get(hash).cloned()
    }

    /// Who asked for a lease.
    pub fn who(&self, lease_id: &str) -> Option<String> {
        self.who.get(lease_id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_with_leases_count() {
        let mut log = AuditLog::default();
        for line in [
            r#"{"type":"response","auth":{"display_name":"approle","metadata":{"role_name":"webapp"}},"request":{"path":"database/creds/a"},"response":{"secret":{"lease_id":"database/creds/a/1"},"data":{"username":"hmac-sha256:x"}}}"#,
            r#"{"type":"response","auth":{"display_name":"token-vaultlab"},"request":{"path":"database/creds/a"},"response":{"secret":{"lease_id":"database/creds/a/2"},"data":{"username":"hmac-sha256:y"}}}"#,
            r#"{"type":"request","request":{"path":"database/creds/a","data":{"lease_id":"z"}}}"#,
            "half a line about database/creds/a with lease_id",
        ] {
            log.add(line.as_bytes());
        }
        assert_eq!(log.lease_of("hmac-sha256:x").as_deref(), Some("database/creds/a/1"));
        assert_eq!(log.who("database/creds/a/1").as_deref(), Some("AppRole webapp"));
        assert_eq!(log.who("database/creds/a/2").as_deref(), Some("token-vaultlab"));
        assert_eq!((log.leases.len(), log.lease_of("z")), (2, None));
        assert!(AuditLog::read(Path::new("/nowhere/audit.log")).unwrap().is_empty());
    }
}
