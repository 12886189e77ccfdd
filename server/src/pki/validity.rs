//! From when to when a certificate is valid.

use std::time::Duration;

use jiff::Timestamp;

use crate::duration;
use crate::logical::{Error, Fields, System};

/// Not-before, not-after, and warnings for the client.
pub(super) type Validity = (Timestamp, Timestamp, Vec<String>);

/// What a role contributes; zero and empty leave it to the mount.
#[derive(Default)]
pub(super) struct Limits<'a> {
    pub ttl: Duration,
    pub max_ttl: Duration,
    pub not_after: &'a str,
    /// How far the beginning is set back, for clocks that are behind.
    pub not_before: Duration,
    /// When the signing authority's certificate ends, where that is a limit.
    pub authority: Option<Timestamp>,
}

/// The validity a request asks for within the limits: `not_after`, else `ttl`, else the role's,
/// else the mount's default; a TTL beyond the maximum is cut with a warning.
///
/// # Errors
/// 400 for times that contradict, have passed, or lie beyond the authority's end.
pub(super) fn validity(
    system: &dyn System,
    fields: Fields<'_>,
    limits: &Limits<'_>,
) -> Result<Validity, Error> {
    let now = system.now();
    let mut warnings = Vec::new();
    let sent_ttl = fields.duration("ttl")?.filter(|ttl| !ttl.is_zero());
    let sent_end = fields.string("not_after")?.filter(|text| !text.is_empty());
    if sent_ttl.is_some() && sent_end.is_some() {
        return Err(Error::bad_request(
            "Either ttl or not_after should be provided. Both should not be provided in the same request.",
        ));
    }
    let given_end = match sent_end.as_deref() {
        Some(text) => Some(text),
        None => Some(limits.not_after).filter(|text| !text.is_empty() && sent_ttl.is_none()),
    };
    let end = if let Some(text) = given_end {
        text.parse().map_err(|_| {
            Error::bad_request(format!(
                "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
            ))
        })?
    } else {
        let mut ttl = [sent_ttl.unwrap_or_default(), limits.ttl]
            .into_iter()
            .find(|ttl| !ttl.is_zero())
            .unwrap_or_else(|| system.default_lease_ttl());
        let max = Some(limits.max_ttl).filter(|max| !max.is_zero());
        let max = max.unwrap_or_else(|| system.max_lease_ttl());
        if ttl > max {
            warnings.push(format!(
                "TTL {:?} is longer than permitted maxTTL {:?}, so maxTTL is being used",
                duration::format(ttl),
                duration::format(max)
            ));
            ttl = max;
        }
        now.saturating_add(ttl).unwrap_or(Timestamp::MAX)
    };
    if end <= now {
        return Err(Error::bad_request(format!(
            "cannot satisfy request, as NotAfter date {end} is in the past"
        )));
    }
    if let Some(last) = limits.authority.filter(|last| end > *last) {
        return Err(Error::bad_request(format!(
            "cannot satisfy request, as TTL would result in notAfter of {end} that is beyond the expiration of the CA certificate at {last}"
        )));
    }
    let begin = now.saturating_sub(limits.not_before).unwrap_or(now);
    Ok((begin, end, warnings))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::logical::testing::TestSystem;

    fn run(body: &Value, limits: &Limits<'_>) -> Result<Validity, Error> {
        validity(&TestSystem::default(), Fields::new(body.as_object().unwrap()), limits)
    }

    fn end(body: &Value, limits: &Limits<'_>) -> String {
        run(body, limits).unwrap().1.to_string()
    }

    #[test]
    fn request_then_role_then_mount() {
        let role =
            Limits { ttl: Duration::from_hours(2), not_before: Duration::from_secs(30), ..Limits::default() };
        assert_eq!(end(&json!({"ttl": "1h"}), &role), "2026-01-01T01:00:00Z");
        assert_eq!(end(&json!({}), &role), "2026-01-01T02:00:00Z");
        assert_eq!(end(&json!({}), &Limits::default()), "2026-02-02T00:00:00Z");
        assert_eq!(end(&json!({"not_after": "2030-01-01T00:00:00Z"}), &role), "2030-01-01T00:00:00Z");
        assert_eq!(run(&json!({}), &role).unwrap().0.to_string(), "2025-12-31T23:59:30Z");
    }

    #[test]
    fn a_ttl_beyond_the_maximum_is_cut_with_a_warning() {
        let role = Limits { max_ttl: Duration::from_hours(1), ..Limits::default() };
        let (_, end, warnings) = run(&json!({"ttl": "2h"}), &role).unwrap();
        assert_eq!(end.to_string(), "2026-01-01T01:00:00Z");
        assert_eq!(
            warnings,
            ["TTL \"2h0m0s\" is longer than permitted maxTTL \"1h0m0s\", so maxTTL is being used"]
        );
    }

    #[test]
    fn impossible_times_are_refused() {
        let limits = Limits { authority: Some("2026-01-01T01:00:00Z".parse().unwrap()), ..Limits::default() };
        for (body, text) in [
            (
                json!({"ttl": "2h"}),
                "that is beyond the expiration of the CA certificate at 2026-01-01T01:00:00Z",
            ),
            (json!({"ttl": "1h", "not_after": "2026-01-01T00:30:00Z"}), "Both should not be provided"),
            (json!({"not_after": "2025-01-01T00:00:00Z"}), "is in the past"),
            (json!({"not_after": "tomorrow"}), "parsing time \"tomorrow\" as"),
        ] {
            let error = run(&body, &limits).unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
