//! Pulling an image: progress by layer, and patience with registries that are busy or far away.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;

use super::engine::Engine;
use super::error::{explain, status};
use super::reference::ImageRef;
use crate::report::{EventKind, Report};

/// How often a pull is tried in all.
const ATTEMPTS: u32 = 5;

/// Pause after the first failure; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How long a registry that asks for patience (429) is left alone at least.
const BUSY_PAUSE: Duration = Duration::from_secs(2);

/// How long nothing may happen before a pull counts as cut off.
const STALLED: Duration = Duration::from_secs(60);

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The network or the registry failed in passing.
    Passing,
    /// The registry asks to come back later.
    Busy,
    /// It will be the same next time.
    Lasting,
}

/// Pulls an image; the error is why not.
pub(super) async fn pull(
    engine: &Engine,
    image: &ImageRef,
    credentials: Option<DockerCredentials>,
    report: &Report,
    step: &str,
) -> Result<(), String> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let (cause, fault) = match once(engine, image, credentials.clone(), report, step).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if fault == Fault::Lasting || attempt == ATTEMPTS {
            return Err(if attempt == 1 { cause } else { format!("{cause}, after {attempt} attempts") });
        }
        let wait = if fault == Fault::Busy { pause.max(BUSY_PAUSE) } else { pause };
        report.note(format!("pulling {image} failed ({cause}); trying again in {:.1} s", wait.as_secs_f64()));
        tokio::time::sleep(wait).await;
        pause *= 2;
    }
    Ok(())
}

async fn once(
    engine: &Engine,
    image: &ImageRef,
    credentials: Option<DockerCredentials>,
    report: &Report,
    step: &str,
) -> Result<(), (String, Fault)> {
    let (name, tag) = image.for_pull();
    let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
    let mut answers = engine.docker.create_image(Some(options), None, credentials);
    loop {
        let answer = match tokio::time::timeout(STALLED, answers.next()).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(()),
            Err(_) => {
                return Err((format!("nothing came for {} s", STALLED.as_secs()), Fault::Passing));
            }
        };
        let layer = answer.map_err(|error| {
            let cause = explain(&error);
            let fault = judge(&cause, status(&error));
            (cause, fault)
        })?;
        if let (Some(id), Some(progress)) = (layer.id, layer.progress_detail)
            && let Some(done) = progress.current
        {
            report.emit(EventKind::Progress {
                step: step.into(),
                item: id,
                done: done.max(0) as u64,
                total: progress.total.unwrap_or(0).max(0) as u64,
                unit: "bytes",
            });
        }
    }
}

/// Engines answer in words: the status is 500 for nearly everything.
fn judge(cause: &str, status: Option<u16>) -> Fault {
    let cause = cause.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if status == Some(429) || says(&["toomanyrequests", "too many requests", "429", "rate limit"]) {
        Fault::Busy
    } else if matches!(status, Some(400..=404))
        || says(&[
            "not found",
            "manifest unknown",
            "name unknown",
            "denied",
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "forbidden",
            // No registry to be reached at all: said at once, so that another way can be taken.
            "no such host",
            "connection refused",
            "network is unreachable",
            "no route to host",
            "server misbehaving",
            "no space left",
            "x509:",
            "server gave http response to https client",
        ])
    {
        Fault::Lasting
    } else {
        Fault::Passing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_say_is_judged() {
        for (cause, status, fault) in [
            ("toomanyrequests: You have reached your pull rate limit.", Some(500), Fault::Busy),
            ("received unexpected HTTP status: 429 Too Many Requests", Some(500), Fault::Busy),
            ("manifest for a:b not found: manifest unknown", Some(404), Fault::Lasting),
            ("pull access denied for a, repository does not exist", Some(404), Fault::Lasting),
            ("Get \"https://r/v2/\": dial tcp: lookup r: no such host", Some(500), Fault::Lasting),
            (
                "Get \"http://127.0.0.1:1/v2/\": unauthorized: authentication required",
                Some(500),
                Fault::Lasting,
            ),
            ("Head \"http://r/v2/a/manifests/1\": no basic auth credentials", Some(500), Fault::Lasting),
            ("unexpected EOF", None, Fault::Passing),
            ("net/http: TLS handshake timeout", Some(500), Fault::Passing),
            ("read tcp: connection reset by peer", Some(500), Fault::Passing),
            ("received unexpected HTTP status: 503 Service Unavailable", Some(500), Fault::Passing),
        ] {
            assert_eq!(judge(cause, status), fault, "{cause}");
        }
    }
}
