//! The task that does what is due: one timer for all leases and tokens.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Ref;
use crate::core::active::Active;

/// Taken from the schedule at once.
const BATCH: usize = 1024;

/// Longest sleep, so that a clock that was set is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// Starts the expiration task; it ends when the server is sealed.
pub fn start(active: &Arc<Active>) {
    tokio::spawn(run(Arc::clone(active)));
}

async fn run(active: Arc<Active>) {
    let mut closing = active.closing.subscribe();
    loop {
        let due = active.index().take_due(Timestamp::now(), BATCH);
        let more = due.len() == BATCH;
        for reference in due {
            tokio::spawn(process(Arc::clone(&active), reference));
        }
        if more {
            tokio::task::yield_now().await;
            continue;
        }
        let now = Timestamp::now();
        let next = active.index().sleep_until(now + MAX_SLEEP);
        let sleep = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = active.schedule_changed.notified() => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
}

impl Active {
    /// To be called after the schedule changed: wakes the expiration task if it would come too late.
    pub(crate) fn reschedule(&self) {
        if self.index().oversleeps() {
            self.schedule_changed.notify_one();
        }
    }
}

async fn process(active: Arc<Active>, reference: Ref) {
    let mut closing = active.closing.subscribe();
    let work = async {
        match &reference {
            Ref::Lease(id) => {
                let Ok(_permit) = active.revocations.acquire().await else {
                    return;
                };
                active.expire_lease(id).await;
            }
            Ref::Token(key) => {
                if let Err(error) = active.revoke_token_tree(key).await {
                    tracing::warn!(%error, "expired token could not be revoked; will retry");
                    let at = Timestamp::now() + Duration::from_secs(5);
                    active.index().set_token_due(key, Some(at));
                    active.reschedule();
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
}
