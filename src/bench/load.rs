//! What one worker does over and over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::http::{Connection, NoAnswer, Prepared, Server};
use super::report::Tally;
use crate::secret::Secret;

/// Pause after a request that got no answer, so that a server that is gone is not hammered.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest text of an error that is kept.
const MAX_TEXT: usize = 160;

/// What is asked for.
pub(super) enum Job {
    /// The same read each time.
    Read(Prepared),
    /// A login; the token is revoked afterwards.
    Login(Prepared),
    /// A credential; its lease is revoked at once or afterwards.
    Credential {
        /// Asks for it.
        request: Prepared,
        /// Revoked before the next is asked for.
        revoke: bool,
    },
}

/// One connection that does one thing after the other.
pub(super) struct Worker {
    server: Arc<Server>,
    connection: Connection,
    token: Secret,
    job: Job,
    /// What it was asked to do.
    pub(super) asked: Tally,
    /// Revocations that are part of the job.
    pub(super) revoked: Tally,
    /// Tokens or leases to be revoked afterwards.
    made: Vec<Secret>,
}

/// Of an answer, what has to be revoked.
#[derive(Deserialize)]
struct Made {
    #[serde(default)]
    lease_id: String,
    auth: Option<Auth>,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Secret,
}

impl Worker {
    pub(super) fn new(server: &Arc<Server>, token: &Secret, job: Job) -> Self {
        Self {
            server: Arc::clone(server),
            connection: Connection::new(server),
            token: token.clone(),
            job,
            asked: Tally::default(),
            revoked: Tally::default(),
            made: Vec::new(),
        }
    }

    /// Works until `end`, or until `stop` turns true.
    pub(super) async fn run(mut self, end: Instant, stop: watch::Receiver<bool>) -> Self {
        let mut began = Instant::now();
        while began < end && !*stop.borrow() {
            let (Job::Read(request) | Job::Login(request) | Job::Credential { request, .. }) = &self.job;
            match ask(&mut self.connection, request, began).await {
                Ok((body, answered)) => {
                    self.asked.succeeded(answered.saturating_duration_since(began));
                    // The clock is not read anew where nothing else was done.
                    began = if self.keep(&body).await { Instant::now() } else { answered };
                    continue;
                }
                Err(Failed::Refused(kind)) => self.asked.failed(&kind),
                Err(Failed::NoAnswer(error)) => {
                    self.asked.failed(&error.to_string());
                    tokio::time::sleep(PAUSE).await;
                }
            }
            began = Instant::now();
        }
        self
    }

    /// Keeps what an answer gave for later, or revokes it if that is part of the job; whether there was
    /// anything to do.
    async fn keep(&mut self, body: &[u8]) -> bool {
        let revoke = match self.job {
            Job::Read(_) => return false,
            Job::Login(_) => false,
            Job::Credential { revoke, .. } => revoke,
        };
        let made = match serde_json::from_slice::<Made>(body) {
            Ok(Made { auth: Some(auth), .. }) => auth.client_token,
            Ok(Made { lease_id, .. }) if !lease_id.is_empty() => lease_id.into(),
            _ => {
                self.asked.failed("an answer without a token or lease");
                return true;
            }
        };
        if !revoke {
            self.made.push(made);
            return true;
        }
        let began = Instant::now();
        match self.take_back(&made).await {
            Ok(()) => self.revoked.succeeded(began.elapsed()),
            Err(error) => {
                self.revoked.failed(&error);
                self.made.push(made);
            }
        }
        true
    }

    /// Revokes a token or a lease and waits until that is done.
    async fn take_back(&mut self, made: &Secret) -> Result<(), String> {
        let request = if matches!(self.job, Job::Login(_)) {
            Prepared::new(&self.server, "auth/token/revoke-self", Some(made), Some(&json!({})))
        } else {
            let body = json!({ "lease_id": made.expose(), "sync": true });
            Prepared::new(&self.server, "sys/leases/revoke", Some(&self.token), Some(&body))
        };
        let request = request.map_err(|error| error.to_string())?;
        ask(&mut self.connection, &request, Instant::now())
            .await
            .map(drop)
            .map_err(|failed| failed.to_string())
    }

    /// Revokes everything that is left; how many were, and how many could not be.
    pub(super) async fn clean(mut self) -> (u64, u64) {
        let (mut revoked, mut failed) = (0, 0);
        for made in std::mem::take(&mut self.made) {
            match self.take_back(&made).await {
                Ok(()) => revoked += 1,
                Err(_) => failed += 1,
            }
        }
        (revoked, failed)
    }
}

/// Why a request was no success.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    NoAnswer(#[from] NoAnswer),
}

/// Sends a request; the body of a success, and when it was there.
async fn ask(
    connection: &mut Connection,
    request: &Prepared,
    now: Instant,
) -> Result<(bytes::Bytes, Instant), Failed> {
    let (answer, answered) = connection.send(request, now).await?;
    if answer.status < 300 {
        Ok((answer.body, answered))
    } else {
        Err(Failed::Refused(refusal(answer.status, &answer.body)))
    }
}

/// The status and the first error of a refusal, on one line.
fn refusal(status: u16, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    let first = serde_json::from_slice::<Errors>(body).ok().and_then(|e| e.errors.into_iter().next());
    let text = first.unwrap_or_default();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(MAX_TEXT).collect();
    format!("{status} {short}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_one_line() {
        assert_eq!(
            refusal(403, br#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#),
            "403 1 error occurred: * permission denied"
        );
        assert_eq!(refusal(404, br#"{"errors":[]}"#), "404");
        assert_eq!(refusal(502, b"<html>"), "502");
        assert!(refusal(400, format!("{{\"errors\":[\"{}\"]}}", "x".repeat(999)).as_bytes()).len() < 200);
    }
}
