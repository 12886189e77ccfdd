//! User lockout: after a number of bad logins a user is refused for a while, good ones too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::logical::{Error, Lockout};

/// Users remembered at most; beyond it the longest idle ones are forgotten.
const MAX_USERS: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u64,
    last: Timestamp,
}

/// Failed logins of one mount, by user (the role_id for AppRole).
///
/// They are kept in memory: unlike in Vault, a restart or a seal ends a lockout.
#[derive(Debug, Default)]
pub struct FailedLogins {
    users: Mutex<HashMap<String, Failures>>,
}

impl FailedLogins {
    /// Refuses a user who is locked out.
    ///
    /// # Errors
    /// 403 `permission denied`, as for any other denial: Vault gives no reason.
    pub fn check(&self, user: &str, rules: &Lockout, now: Timestamp) -> Result<(), Error> {
        if rules.disabled {
            return Ok(());
        }
        let locked = self.users().get(user).is_some_and(|failures| {
            failures.count >= rules.threshold && since(failures.last, now) < rules.duration
        });
        if locked {
            tracing::info!(user_lockout = true, "login refused: too many failed logins before");
            return Err(Error::coded(403, "permission denied"));
        }
        Ok(())
    }

    /// Counts a failed login.
    pub fn record(&self, user: &str, rules: &Lockout, now: Timestamp) {
        if rules.disabled {
            return;
        }
        let mut users = self.users();
        if users.len() >= MAX_USERS && !users.contains_key(user) {
            let oldest = users.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                users.remove(&name);
            }
        }
        let failures = users.entry(user.to_owned()).or_insert(Failures { count: 0, last: now });
        if since(failures.last, now) > rules.counter_reset {
            failures.count = 0;
        }
        failures.count += 1;
        failures.last = now;
    }

    /// Forgets a user's failures, after a good login.
    pub fn clear(&self, user: &str) {
        self.users().remove(user);
    }

    /// Forgets failures that no longer count.
    pub fn forget_old(&self, rules: &Lockout, now: Timestamp) {
        let keep = rules.duration.max(rules.counter_reset);
        self.users().retain(|_, failures| since(failures.last, now) <= keep);
    }

    fn users(&self) -> MutexGuard<'_, HashMap<String, Failures>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time from `then` to `now`, zero if the clock went back.
fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn five_failures_lock_for_fifteen_minutes() {
        let (logins, rules) = (FailedLogins::default(), Lockout::default());
        for second in 0..4 {
            logins.record("u", &rules, at(second));
        }
        logins.check("u", &rules, at(4)).unwrap();
        logins.record("u", &rules, at(4));
        let error = logins.check("u", &rules, at(5)).unwrap_err();
        assert_eq!((error.status(), error.client_text()), (403, "permission denied".into()));
        logins.check("other", &rules, at(5)).unwrap();
        assert!(logins.check("u", &rules, at(4 + 899)).is_err());
        logins.check("u", &rules, at(4 + 900)).unwrap();
    }

    #[test]
    fn a_good_login_or_a_long_pause_resets_the_count() {
        let (logins, rules) = (FailedLogins::default(), Lockout::default());
        for second in 0..4 {
            logins.record("u", &rules, at(second));
        }
        logins.clear("u");
        logins.record("u", &rules, at(5));
        logins.check("u", &rules, at(6)).unwrap();
        for second in 6..9 {
            logins.record("u", &rules, at(second));
        }
        logins.record("u", &rules, at(2000));
        logins.check("u", &rules, at(2001)).unwrap();
    }

    #[test]
    fn it_can_be_switched_off_and_forgets() {
        let logins = FailedLogins::default();
        let off = Lockout { disabled: true, ..Lockout::default() };
        for second in 0..9 {
            logins.record("u", &off, at(second));
        }
        logins.check("u", &Lockout::default(), at(9)).unwrap();
        logins.record("u", &Lockout::default(), at(9));
        logins.forget_old(&Lockout::default(), at(9 + 901));
        assert!(logins.users().is_empty());
    }

    #[test]
    fn the_number_of_users_is_bounded() {
        let (logins, rules) = (FailedLogins::default(), Lockout::default());
        for user in 0..=MAX_USERS {
            logins.record(&user.to_string(), &rules, at(user as i64));
        }
        let users = logins.users();
        assert_eq!(users.len(), MAX_USERS);
        assert!(!users.contains_key("0"));
    }
}
