//! A user: a password and what its tokens are like.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use crate::framework::TokenParams;
use crate::logical::{Error, Fields, Object};
use crate::token::sanitize_policies;

/// bcrypt's cost for passwords hashed here; Go's default, which Vault takes.
const COST: u32 = 10;

/// Costs a hash made elsewhere may have.
const ACCEPTED_COSTS: std::ops::RangeInclusive<u32> = 5..=12;

/// bcrypt looks at no more bytes of a password.
const MAX_PASSWORD_BYTES: usize = 72;

/// Old parameter names and what they are called now.
const OLD_NAMES: &[(&str, &str)] = &[
    ("bound_cidrs", "token_bound_cidrs"),
    ("max_ttl", "token_max_ttl"),
    ("policies", "token_policies"),
    ("ttl", "token_ttl"),
];

/// A user as it is stored.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct User {
    /// bcrypt hash of the password.
    pub password_hash: Zeroizing<String>,
    /// What its tokens are like.
    pub token: TokenParams,
    /// Old parameter names it was written with, to be shown under them too.
    old_names: BTreeSet<String>,
}

impl User {
    /// Takes over the token parameters a request sends, under their new or old names; of both, the
    /// new one wins.
    ///
    /// # Errors
    /// Vault's, which reads them where it looks whether the user is there, or later.
    pub fn update(&mut self, sent: &Object, on_existence_check: bool) -> Result<(), Error> {
        let mut renamed = sent.clone();
        let given = |name: &str| sent.get(name).is_some_and(|value| !value.is_null());
        for (old, new) in OLD_NAMES {
            match (given(old), given(new)) {
                (true, has_new) => {
                    if let (false, Some(value)) = (has_new, sent.get(*old)) {
                        renamed.insert((*new).to_owned(), value.clone());
                    }
                    self.old_names.insert((*old).to_owned());
                }
                (false, true) => {
                    self.old_names.remove(*old);
                }
                (false, false) => {}
            }
        }
        self.token.update(Fields::new(&renamed).on_existence_check(on_existence_check))?;
        if given("policies") && !given("token_policies") {
            self.token.policies = sanitize_policies(&self.token.policies, false);
        }
        Ok(())
    }

    /// What a read answers; never anything about the password.
    pub fn describe(&self) -> Object {
        let mut data = Object::new();
        self.token.describe(&mut data);
        for (old, new) in OLD_NAMES {
            // What is empty is not shown under its old name.
            let set = data.get(*new).filter(|value| **value != json!([]) && **value != json!(0));
            if self.old_names.contains(*old)
                && let Some(value) = set.cloned()
            {
                data.insert((*old).to_owned(), value);
            }
        }
        data
    }
}

/// A password or a ready bcrypt hash, as a request sends it.
pub(super) enum NewPassword {
    /// To be hashed.
    Plain(Zeroizing<String>),
    /// Hashed elsewhere.
    Hash(Zeroizing<String>),
}

impl NewPassword {
    /// What a request sends; none where it sends neither.
    ///
    /// # Errors
    /// Vault's error responses, for both at once and for what cannot be used.
    pub fn sent(fields: Fields<'_>) -> Result<Option<Self>, Error> {
        let text = |name| fields.string(name).map(|text| text.filter(|text| !text.is_empty()));
        match (text("password")?, text("password_hash")?) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Err(Error::bad_request("only one of password or password_hash may be provided"))
            }
            (Some(password), None) if password.len() > MAX_PASSWORD_BYTES => {
                Err(Error::bad_request("bcrypt: password length exceeds 72 bytes"))
            }
            (Some(password), None) => Ok(Some(Self::Plain(Zeroizing::new(password)))),
            (None, Some(hash)) => {
                check_hash(&hash)?;
                Ok(Some(Self::Hash(Zeroizing::new(hash))))
            }
        }
    }

    /// The bcrypt hash. Hashing takes tens of milliseconds of a core, on a thread of its own.
    pub async fn into_hash(self) -> Result<Zeroizing<String>, Error> {
        let password = match self {
            Self::Hash(hash) => return Ok(hash),
            Self::Plain(password) => password,
        };
        tokio::task::spawn_blocking(move || bcrypt::hash(password.as_bytes(), COST))
            .await
            .map_err(|error| Error::internal(format!("hashing the password failed: {error}")))?
            .map(Zeroizing::new)
            .map_err(|error| Error::internal(format!("hashing the password failed: {error}")))
    }
}

/// Whether a password belongs to a hash. Takes as long as hashing does, on a thread of its own.
pub(super) async fn verify(password: Zeroizing<String>, hash: Zeroizing<String>) -> Result<bool, Error> {
    tokio::task::spawn_blocking(move || bcrypt::verify(password.as_bytes(), &hash))
        .await
        .map_err(|error| Error::internal(format!("checking the password failed: {error}")))?
        .map_err(|error| Error::internal(format!("checking the password failed: {error}")))
}

fn check_hash(hash: &str) -> Result<(), Error> {
    let parts: bcrypt::HashParts =
        hash.parse().map_err(|_| Error::bad_request("password_hash is not a valid bcrypt hash"))?;
    let (cost, accepted) = (parts.get_cost(), ACCEPTED_COSTS);
    if cost < *accepted.start() {
        return Err(Error::bad_request(format!(
            "bcrypt cost of {cost} is too low, want {} at minimum",
            accepted.start()
        )));
    }
    if cost > *accepted.end() {
        return Err(Error::bad_request(format!(
            "bcrypt cost of {cost} exceeds maximum cost of {}",
            accepted.end()
        )));
    }
    Ok(())
}
