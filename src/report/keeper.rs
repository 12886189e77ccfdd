//! What the keeper tells.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::milliseconds;
use super::plain::seconds;

/// Something the keeper of a lab did or saw. Accessors name secret_ids without giving them away.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum KeeperEvent {
    /// It began to keep the lab.
    Began {
        /// Its process.
        pid: u32,
    },
    /// It ended; services and credentials stay as they are.
    Ended {
        /// Why.
        reason: String,
    },
    /// Vault was sealed and was unsealed.
    Unsealed {
        /// From its first answer to its being active, in milliseconds.
        #[serde(rename = "took_ms", with = "milliseconds")]
        took: Duration,
    },
    /// Vault does not answer, or cannot be unsealed.
    VaultLost {
        /// What was seen.
        cause: String,
    },
    /// Vault answers and is unsealed, after it was lost.
    VaultBack {
        /// How long it was lost, in milliseconds.
        #[serde(rename = "after_ms", with = "milliseconds")]
        after: Duration,
    },
    /// The keeper has a token that Vault accepts again.
    TokenReplaced,
    /// A secret_id is in its file, proven by a login.
    SecretIdDelivered {
        /// The AppRole.
        approle: String,
        /// Names the secret_id.
        accessor: String,
        /// Why a new one was due.
        reason: Cow<'static, str>,
        /// Seconds it lives; 0 is for ever.
        ttl: u64,
        /// From generating it to its file, in milliseconds.
        #[serde(rename = "took_ms", with = "milliseconds")]
        took: Duration,
    },
    /// A secret_id that is no longer delivered was destroyed.
    SecretIdDestroyed {
        /// The AppRole.
        approle: String,
        /// Names the secret_id.
        accessor: String,
        /// `predecessor`, or `orphan` for one that a crash left.
        reason: Cow<'static, str>,
    },
    /// A secret_id could not be delivered; what was delivered before stays.
    DeliveryFailed {
        /// The AppRole.
        approle: String,
        /// Why.
        error: String,
        /// When it is tried again, in milliseconds from now.
        #[serde(rename = "retry_in_ms", with = "milliseconds")]
        retry: Duration,
    },
    /// A service was found dead.
    ServiceDied {
        /// The service.
        service: String,
    },
    /// It was started again.
    ServiceRestarted {
        /// The service.
        service: String,
        /// Which restart in a row this was, from 1.
        attempt: u32,
        /// How long the start took, in milliseconds.
        #[serde(rename = "took_ms", with = "milliseconds")]
        took: Duration,
    },
    /// It could not be started.
    RestartFailed {
        /// The service.
        service: String,
        /// Why.
        error: String,
        /// When it is tried again, in milliseconds from now; none when it is given up.
        #[serde(rename = "retry_in_ms", with = "maybe_milliseconds")]
        retry: Option<Duration>,
    },
    /// The password of Vault's own account was replaced, and that proven.
    RootRotated {
        /// The database.
        database: String,
        /// What was proven.
        proof: String,
        /// How long it took, in milliseconds.
        #[serde(rename = "took_ms", with = "milliseconds")]
        took: Duration,
    },
    /// It could not be replaced, or not be proven.
    RotationFailed {
        /// The database.
        database: String,
        /// Why.
        error: String,
        /// When it is tried again, in milliseconds from now.
        #[serde(rename = "retry_in_ms", with = "milliseconds")]
        retry: Duration,
    },
    /// A database refuses Vault's own login: somebody changed the password of its account.
    LockedOut {
        /// The database.
        database: String,
        /// What it says.
        error: String,
    },
    /// It accepts it again.
    LetIn {
        /// The database.
        database: String,
    },
    /// Vault replaced the password of a static role, and the new one was seen to work.
    StaticRoleRotated {
        /// The static role.
        role: String,
        /// What was proven.
        proof: String,
        /// When Vault replaced it, by its own clock.
        rotated_at: Timestamp,
        /// When the next rotation is due.
        next_at: Option<Timestamp>,
        /// How long the proof took, in milliseconds.
        #[serde(rename = "took_ms", with = "milliseconds")]
        took: Duration,
    },
    /// The password that Vault gives for a static role does not work, or could not be tried.
    StaticRoleFailed {
        /// The static role.
        role: String,
        /// Why.
        error: String,
        /// When it is tried again, in milliseconds from now.
        #[serde(rename = "retry_in_ms", with = "milliseconds")]
        retry: Duration,
    },
}

impl KeeperEvent {
    /// Whether somebody should look at it.
    pub fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::VaultLost { .. }
                | Self::DeliveryFailed { .. }
                | Self::ServiceDied { .. }
                | Self::RestartFailed { .. }
                | Self::RotationFailed { .. }
                | Self::LockedOut { .. }
                | Self::StaticRoleFailed { .. }
        )
    }

    /// The event in one line for people.
    pub fn said(&self) -> String {
        match self {
            Self::Began { pid } => format!("keeping the lab (pid {pid})"),
            Self::Ended { reason } => format!("no longer keeping the lab: {reason}"),
            Self::Unsealed { took } => format!("Vault unsealed  {}", seconds(*took)),
            Self::VaultLost { cause } => format!("Vault: {cause}"),
            Self::VaultBack { after } => format!("Vault is back after {}", seconds(*after)),
            Self::TokenReplaced => "the keeper has a new token".into(),
            Self::SecretIdDelivered { approle, reason, took, .. } => {
                format!("secret_id of {approle} delivered: {reason}  {}", seconds(*took))
            }
            Self::SecretIdDestroyed { approle, reason, .. } => {
                format!("secret_id of {approle} destroyed: {reason}")
            }
            Self::DeliveryFailed { approle, error, retry } => {
                format!("secret_id of {approle} not delivered, again in {}: {error}", seconds(*retry))
            }
            Self::ServiceDied { service } => format!("{service} died"),
            Self::ServiceRestarted { service, attempt, took } => match attempt {
                1 => format!("{service} started again  {}", seconds(*took)),
                n => format!("{service} started again, for the {n}th time in a row  {}", seconds(*took)),
            },
            Self::RestartFailed { service, error, retry } => match retry {
                Some(retry) => format!("{service} does not start, again in {}: {error}", seconds(*retry)),
                None => format!("{service} does not start and is given up: {error}"),
            },
            Self::RootRotated { database, proof, took } => {
                format!("root of {database} rotated: {proof}  {}", seconds(*took))
            }
            Self::RotationFailed { database, error, retry } => {
                format!("root of {database} not rotated, again in {}: {error}", seconds(*retry))
            }
            Self::LockedOut { database, error } => {
                format!("Vault is locked out of {database}, which `vaultlab up` repairs: {error}")
            }
            Self::LetIn { database } => format!("Vault gets into {database} again"),
            Self::StaticRoleRotated { role, proof, next_at, .. } => {
                let next = next_at.map(|next| next.strftime(", next at %Y-%m-%d %H:%M:%S UTC").to_string());
                format!("Vault rotated static role {role}: {proof}{}", next.unwrap_or_default())
            }
            Self::StaticRoleFailed { role, error, retry } => {
                format!("static role {role} does not work, again in {}: {error}", seconds(*retry))
            }
        }
    }
}

mod maybe_milliseconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::milliseconds;

    #[expect(clippy::ref_option, reason = "what serde passes")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => milliseconds::serialize(duration, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?.map(milliseconds::duration).transpose()
    }
}
