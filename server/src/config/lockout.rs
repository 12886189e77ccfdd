//! `user_lockout "all" { … }`: when repeated bad logins lock users out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::{Fault, Warnings};
use super::values;
use crate::hcl::Item;
use crate::logical::Lockout;

/// The values one stanza gives; what it leaves out comes from `all`, then from Vault's
/// defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserLockout {
    /// Failed logins that lock.
    pub threshold: Option<u64>,
    /// How long it stays locked.
    pub duration: Option<Duration>,
    /// How long failures are remembered.
    pub counter_reset: Option<Duration>,
    /// Whether it is switched off.
    pub disabled: Option<bool>,
}

/// The stanzas by auth method: `all`, `userpass`, `approle` or `ldap`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserLockouts(BTreeMap<String, UserLockout>);

impl UserLockouts {
    /// The rules for an auth method's type.
    pub fn for_method(&self, method: &str) -> Lockout {
        let own = self.0.get(method).copied().unwrap_or_default();
        let all = self.0.get("all").copied().unwrap_or_default();
        let default = Lockout::default();
        Lockout {
            disabled: own.disabled.or(all.disabled).unwrap_or(default.disabled),
            threshold: own.threshold.or(all.threshold).unwrap_or(default.threshold),
            duration: own.duration.or(all.duration).unwrap_or(default.duration),
            counter_reset: own.counter_reset.or(all.counter_reset).unwrap_or(default.counter_reset),
        }
    }

    /// The auth methods that have a stanza, with what it says.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &UserLockout)> {
        self.0.iter().map(|(method, lockout)| (method.as_str(), lockout))
    }

    /// Reads a stanza.
    pub(super) fn read(&mut self, item: &Item, warnings: &mut Warnings) -> Result<(), Fault> {
        let body = values::block(item)?;
        let method = values::stanza_type(item, body)?;
        if !matches!(method.as_str(), "all" | "ldap" | "approle" | "userpass") {
            return Err(Fault::new(item.key_span(), format!("unsupported auth type {method:?}")));
        }
        let lockout = self.0.entry(method).or_default();
        for item in &body.items {
            match item.name() {
                "lockout_threshold" => lockout.threshold = Some(values::unsigned(item)?),
                "lockout_duration" => lockout.duration = Some(values::duration(item)?),
                "lockout_counter_reset" => lockout.counter_reset = Some(values::duration(item)?),
                "disable_lockout" => lockout.disabled = Some(values::boolean(item)?),
                "type" => {}
                _ => warnings.unknown(item),
            }
        }
        Ok(())
    }

    /// Takes over the stanzas of a later file.
    pub(super) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}
