//! Rebuilding the index from storage at unseal.

use jiff::Timestamp;

use crate::core::active::Active;
use crate::logical::Error;

use super::tokens::LAST_USE;

impl Active {
    /// Reads all tokens and leases into the index. Leases whose token is gone are due at once, as
    /// are tokens whose last use was interrupted.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub(crate) fn restore(&self) -> Result<(), Error> {
        let now = Timestamp::now();
        let mut index = self.index();
        for key in self.tokens.all()? {
            let Some(token) = self.tokens.load(&key)? else {
                continue;
            };
            let parent = (!token.entry.parent.is_empty()).then(|| self.tokens.key(&token.entry.parent));
            let due = if token.entry.num_uses == LAST_USE { Some(now) } else { token.lease.expires };
            index.restore_token(key, &token.entry.accessor, parent, due);
            index.note_path(key, &token.entry.path);
        }
        index.link(now);
        for id in self.leases().keys("")? {
            let Some(lease) = self.load_lease(&id)? else {
                continue;
            };
            index.restore_lease(&id, lease.token, lease.expires, lease.irrevocable.is_some());
            if !index.has_token(&lease.token) && lease.irrevocable.is_none() {
                index.end_lease(&id, now);
            }
        }
        Ok(())
    }
}
