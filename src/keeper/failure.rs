//! Deliveries that fail: told, and tried again ever less often.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use super::clock::Watched;
use super::vault::is_lost;
use crate::provision::ProvisionError;
use crate::report::KeeperEvent;
use crate::spec::model::AppRoleSpec;

/// First and longest pause before a failed delivery is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// How often in a row a delivery failed.
#[derive(Debug, Default)]
pub(super) struct Failures(u32);

impl Failures {
    /// Notes one more; gives how long to wait. What is delivered lives for `life` (zero is for ever).
    pub fn add(
        &mut self,
        shared: &Shared,
        spec: &AppRoleSpec,
        files: &Watched,
        life: Duration,
        error: &ProvisionError,
    ) -> Duration {
        if is_lost(error) {
            shared.look_at_vault.notify_one();
            return RETRY.0;
        }
        if let ProvisionError::On { source, .. } | ProvisionError::Vault(source) = error
            && source.is_status(403)
        {
            shared.doubt_token.store(true, Ordering::Relaxed);
            shared.look_at_vault.notify_one();
        }
        // Files that are as this failure left them are no reason to hurry.
        files.see();
        self.0 = self.0.saturating_add(1);
        let retry = pause(self.0, life);
        let (approle, error) = (spec.name.clone(), error.to_string());
        {
            let mut record = shared.record();
            let entry = record.approles.entry(approle.clone()).or_default();
            (entry.failures, entry.error) = (self.0, Some(error.clone()));
        }
        // The first failures are told one by one, later ones now and then.
        if self.0.is_power_of_two() {
            shared.report.keeper(KeeperEvent::DeliveryFailed { approle, error, retry });
        }
        retry
    }

    /// It went well.
    pub fn end(&mut self, shared: &Shared, spec: &AppRoleSpec) {
        if std::mem::take(&mut self.0) > 0 {
            let mut record = shared.record();
            let entry = record.approles.entry(spec.name.clone()).or_default();
            (entry.failures, entry.error) = (0, None);
        }
    }
}

/// Often enough that a short life does not end meanwhile.
fn pause(failures: u32, life: Duration) -> Duration {
    let longest = match life {
        Duration::ZERO => RETRY.1,
        life => RETRY.1.min(life / 12).max(RETRY.0),
    };
    (RETRY.0 * 2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_short_for_what_lives_shortly() {
        let hour = Duration::from_secs(3600);
        assert_eq!([1, 2, 3].map(|n| pause(n, hour).as_millis()), [250, 500, 1000]);
        assert_eq!(pause(u32::MAX, Duration::ZERO), RETRY.1);
        assert_eq!(pause(9, Duration::from_secs(12)), Duration::from_secs(1));
        assert_eq!(pause(9, Duration::from_secs(1)), RETRY.0);
    }
}
