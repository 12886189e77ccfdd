//! Vault's rules for how long something lives.

use std::time::Duration;

use jiff::Timestamp;

use super::{Error, System};
use crate::duration;

/// Inputs of [`calculate_ttl`]; zero means "not given" everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct TtlRequest {
    /// What the client asks for.
    pub increment: Duration,
    /// What the role says.
    pub role_ttl: Duration,
    /// Period; then the limits below apply no more, except the explicit one.
    pub period: Duration,
    /// The role's limit.
    pub role_max_ttl: Duration,
    /// The hard limit of a token.
    pub explicit_max_ttl: Duration,
    /// When the life began; none is now.
    pub issue_time: Option<Timestamp>,
}

/// The granted TTL from now, and warnings where it was capped.
///
/// Order: increment, else role, else the mount's default; capped at issue time plus the smallest of
/// the mount's, the role's and the explicit limit.
///
/// # Errors
/// `past the max TTL, cannot renew` when the limit has passed.
pub fn calculate_ttl(system: &dyn System, request: &TtlRequest) -> Result<(Duration, Vec<String>), Error> {
    let now = system.now();
    calculate_at(now, system.default_lease_ttl(), system.max_lease_ttl(), request)
}

/// [`calculate_ttl`] on plain values: the time, the mount's default and longest TTL.
///
/// # Errors
/// As [`calculate_ttl`].
pub fn calculate_at(
    now: Timestamp,
    default_ttl: Duration,
    system_max: Duration,
    request: &TtlRequest,
) -> Result<(Duration, Vec<String>), Error> {
    // Seconds are the finest a TTL has.
    let now = whole_seconds(now);
    let issue_time = request.issue_time.map_or(now, whole_seconds);
    let mut warnings = Vec::new();
    let mut max_ttl = system_max;
    if !request.role_max_ttl.is_zero() && request.role_max_ttl < max_ttl {
        max_ttl = request.role_max_ttl;
    }
    if !request.explicit_max_ttl.is_zero() && request.explicit_max_ttl < max_ttl {
        max_ttl = request.explicit_max_ttl;
    }

    if !request.period.is_zero() {
        let mut ttl = request.period;
        if ttl > max_ttl {
            warnings.push(capped("period", ttl, max_ttl));
            ttl = max_ttl;
        }
        if !request.explicit_max_ttl.is_zero() {
            let left = remaining(issue_time, request.explicit_max_ttl, now)?;
            if ttl > left {
                warnings.push(capped("TTL", ttl, left));
                ttl = left;
            }
        }
        return Ok((ttl, warnings));
    }

    let mut ttl =
        [request.increment, request.role_ttl].into_iter().find(|ttl| !ttl.is_zero()).unwrap_or(default_ttl);
    let left = remaining(issue_time, max_ttl, now)?;
    if ttl > left {
        warnings.push(capped("TTL", ttl, left));
        ttl = left;
    }
    Ok((ttl, warnings))
}

fn capped(what: &str, ttl: Duration, max: Duration) -> String {
    format!(
        "{what} of {:?} exceeded the effective max_ttl of {:?}; {what} value is capped accordingly",
        duration::format_short(ttl),
        duration::format_short(max)
    )
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What is left at `now` of a life of `max` that began at `issue_time`.
fn remaining(issue_time: Timestamp, max: Duration, now: Timestamp) -> Result<Duration, Error> {
    let used = Duration::try_from(now.duration_since(issue_time)).unwrap_or_default();
    max.checked_sub(used)
        .filter(|left| !left.is_zero())
        .ok_or_else(|| Error::internal("past the max TTL, cannot renew"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn run(now: i64, request: &TtlRequest) -> Result<(Duration, Vec<String>), Error> {
        calculate_at(at(now), HOUR, HOUR * 10, request)
    }

    #[test]
    fn increment_then_role_then_default() {
        let mut request = TtlRequest::default();
        assert_eq!(run(0, &request).unwrap().0, HOUR);
        request.role_ttl = HOUR * 2;
        assert_eq!(run(0, &request).unwrap().0, HOUR * 2);
        request.increment = HOUR * 3;
        assert_eq!(run(0, &request).unwrap(), (HOUR * 3, vec![]));
    }

    #[test]
    fn the_cap_counts_from_the_issue_time_and_warns() {
        let request = TtlRequest {
            increment: HOUR * 3,
            role_max_ttl: HOUR * 4,
            issue_time: Some(at(0)),
            ..TtlRequest::default()
        };
        let (ttl, warnings) = run(2 * 3600, &request).unwrap();
        assert_eq!(ttl, HOUR * 2);
        assert_eq!(
            warnings,
            ["TTL of \"3h\" exceeded the effective max_ttl of \"2h\"; TTL value is capped accordingly"]
        );
        let error = run(4 * 3600, &request).unwrap_err();
        assert_eq!(error.to_string(), "past the max TTL, cannot renew");
    }

    #[test]
    fn a_role_never_raises_the_mounts_limit() {
        let request = TtlRequest { increment: HOUR * 30, role_max_ttl: HOUR * 20, ..TtlRequest::default() };
        assert_eq!(run(0, &request).unwrap().0, HOUR * 10);
    }

    #[test]
    fn a_period_ignores_the_age_but_not_the_explicit_limit() {
        let mut request = TtlRequest { period: HOUR * 2, issue_time: Some(at(0)), ..TtlRequest::default() };
        assert_eq!(run(100 * 3600, &request).unwrap().0, HOUR * 2);
        request.explicit_max_ttl = HOUR * 3;
        assert_eq!(run(2 * 3600, &request).unwrap().0, HOUR);
    }
}
