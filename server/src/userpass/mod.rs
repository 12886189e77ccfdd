//! The userpass auth method: people log in with a name and a password.

#[cfg(test)]
mod tests;
mod user;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use zeroize::Zeroizing;

use self::user::{NewPassword, User, verify};
use crate::framework::{Call, FailedLogins, KeyLocks, Route, Router, Row, TOKEN_PARAMETERS, network, route};
use crate::logical::{
    Alias, Auth, Backend, BackendContext, Error, Object, Operation, Request, Response, SpecialPaths, System,
    View,
};
use crate::token::sanitize_policies;

/// A hash that no password is checked against for real: it only makes a login as an unknown user
/// take as long as one with a wrong password.
const NO_PASSWORD: &str = "\"password\" or \"password_hash\" must be supplied";
const DUMMY_HASH: &str = "$2b$10$kjtuW4KRIdDq2z3kvgZH0eHeqhg0lQAUkFKYoZ0YbXDQrjPAzXcGS";

type Answer = Result<Option<Response>, Error>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Login,
    Users,
    User,
    Password,
    Policies,
}

/// A userpass mount.
pub struct Userpass {
    view: View,
    system: Arc<dyn System>,
    router: Router<Endpoint>,
    locks: KeyLocks,
    failures: FailedLogins,
}

impl Userpass {
    /// Makes the backend of a mount, for [`crate::logical::Factory`].
    ///
    /// # Errors
    /// None; the signature is the factory's.
    pub fn factory(context: BackendContext) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(Self::new(context)))
    }

    fn new(context: BackendContext) -> Self {
        Self {
            view: context.storage,
            system: context.system,
            router: Router::new(routes()),
            locks: KeyLocks::default(),
            failures: FailedLogins::default(),
        }
    }

    fn stored(&self, name: &str) -> Result<Option<User>, Error> {
        Ok(self.view.get_json(&format!("user/{name}"))?)
    }

    async fn store(&self, name: &str, user: &User) -> Result<(), Error> {
        Ok(self.view.put_json(&format!("user/{name}"), user).await?)
    }

    /// `users/<name>`.
    async fn user(&self, call: &Call<'_, Endpoint>) -> Answer {
        let name = user_name(call);
        match call.operation() {
            Operation::Read => Ok(self.stored(&name)?.map(|user| Response::data(user.describe()))),
            Operation::Delete => {
                let _lock = self.locks.lock(&name).await;
                self.view.delete(&format!("user/{name}")).await?;
                Ok(None)
            }
            _ => {
                let password = NewPassword::sent(call.fields())?;
                let hash = hash_of(password).await?;
                let _lock = self.locks.lock(&name).await;
                let existing = self.stored(&name)?;
                if existing.is_none() && hash.is_none() {
                    return Err(Error::bad_request(NO_PASSWORD));
                }
                let mut user = existing.unwrap_or_default();
                user.update(&call.request.data, true)?;
                if let Some(hash) = hash {
                    user.password_hash = hash;
                }
                self.store(&name, &user).await?;
                Ok(None)
            }
        }
    }

    /// `users/<name>/password`.
    async fn password(&self, call: &Call<'_, Endpoint>) -> Answer {
        let hash = hash_of(NewPassword::sent(call.fields())?)
            .await?
            .ok_or_else(|| Error::bad_request(NO_PASSWORD))?;
        self.change(call, |user| {
            user.password_hash = hash;
            Ok(())
        })
        .await
    }

    /// `users/<name>/policies`.
    async fn policies(&self, call: &Call<'_, Endpoint>) -> Answer {
        let sent: Object = ["policies", "token_policies"]
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), call.request.data.get(*name)?.clone())))
            .collect();
        self.change(call, |user| {
            user.update(&sent, false)?;
            user.token.policies = sanitize_policies(&user.token.policies, false);
            Ok(())
        })
        .await
    }

    async fn change(
        &self,
        call: &Call<'_, Endpoint>,
        change: impl FnOnce(&mut User) -> Result<(), Error>,
    ) -> Answer {
        let name = user_name(call);
        let _lock = self.locks.lock(&name).await;
        let mut user = self.stored(&name)?.ok_or_else(|| Error::internal("username does not exist"))?;
        change(&mut user)?;
        self.store(&name, &user).await?;
        Ok(None)
    }

    /// `login/<name>`.
    async fn login(&self, call: &Call<'_, Endpoint>) -> Answer {
        let name = user_name(call);
        let (rules, now) = (self.system.lockout(), self.system.now());
        self.failures.check(&name, &rules, now)?;
        let password = call.fields().string("password")?.unwrap_or_default();
        if password.is_empty() {
            return Err(Error::bad_request("invalid credentials"));
        }
        let user = self.stored(&name)?;
        let known = user.is_some();
        let hash = user
            .as_ref()
            .map_or_else(|| Zeroizing::new(DUMMY_HASH.to_owned()), |user| user.password_hash.clone());
        let matches = verify(Zeroizing::new(password), hash).await?;
        let Some(user) = user.filter(|_| matches) else {
            // Vault counts for users there are only.
            if known {
                self.failures.record(&name, &rules, now);
            }
            return Err(Error::bad_request("invalid username or password"));
        };
        check_source(&user, call.request)?;
        self.failures.clear(&name);
        let auth = Auth {
            display_name: name.clone(),
            metadata: [("username".to_owned(), name.clone())].into(),
            internal: Object::from_iter([
                ("username".to_owned(), json!(name)),
                ("policies".to_owned(), json!(user.token.policies)),
            ]),
            alias: Some(Alias { name, ..Alias::default() }),
            ..user.token.auth()
        };
        Ok(Some(Response { auth: Some(Box::new(auth)), ..Response::default() }))
    }
}

fn user_name(call: &Call<'_, Endpoint>) -> String {
    call.path_field("username").to_lowercase()
}

async fn hash_of(password: Option<NewPassword>) -> Result<Option<Zeroizing<String>>, Error> {
    match password {
        Some(password) => Ok(Some(password.into_hash().await?)),
        None => Ok(None),
    }
}

/// Refuses a login from outside the networks the user's tokens are bound to.
fn check_source(user: &User, request: &Request) -> Result<(), Error> {
    let networks = &user.token.bound_cidrs;
    let inside = |address| network::any_contains(networks, address);
    if networks.is_empty() || request.remote_addr.is_some_and(inside) {
        Ok(())
    } else {
        Err(Error::PermissionDenied)
    }
}

/// The table of endpoints, for help and documentation.
pub(crate) fn reference() -> Vec<Row> {
    routes().iter().map(Route::row).collect()
}

fn routes() -> Vec<Route<Endpoint>> {
    const USER: &[Operation] = &[Operation::Create, Operation::Update, Operation::Read, Operation::Delete];
    const PASSWORD: &[&str] = &["password", "password_hash"];
    const OLD: &[&str] = &["bound_cidrs", "max_ttl", "policies", "ttl"];
    vec![
        route("login/{username}", &[Operation::Update], &[&["password"]], Endpoint::Login),
        route("users/?", &[Operation::List], &[], Endpoint::Users),
        route("users/{username}", USER, &[PASSWORD, OLD, TOKEN_PARAMETERS], Endpoint::User),
        route("users/{username}/password", &[Operation::Update], &[PASSWORD], Endpoint::Password),
        route(
            "users/{username}/policies",
            &[Operation::Update],
            &[&["policies", "token_policies"]],
            Endpoint::Policies,
        ),
    ]
}

#[async_trait]
impl Backend for Userpass {
    fn endpoints(&self) -> Vec<Row> {
        reference()
    }

    fn special_paths(&self) -> SpecialPaths {
        SpecialPaths { unauthenticated: &["login/*"], ..SpecialPaths::default() }
    }

    fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        match self.router.find(&request.path) {
            Some((route, captures)) if route.endpoint == Endpoint::User => {
                let name = captures.first().map_or("", |(_, name)| name).to_lowercase();
                Ok(Some(self.stored(&name)?.is_some()))
            }
            _ => Ok(None),
        }
    }

    async fn handle(&self, request: &Request) -> Answer {
        let call = self.router.resolve(request)?;
        let response = match call.endpoint {
            Endpoint::Login => self.login(&call).await?,
            Endpoint::Users => Response::list(self.view.list("user/")?),
            Endpoint::User => self.user(&call).await?,
            Endpoint::Password => self.password(&call).await?,
            Endpoint::Policies => self.policies(&call).await?,
        };
        Ok(call.finish(response))
    }

    async fn renew_auth(&self, auth: &Auth) -> Result<Auth, Error> {
        let name = auth.internal.get("username").and_then(|name| name.as_str());
        let user = self
            .stored(name.unwrap_or_default())?
            .ok_or_else(|| Error::internal("user does not exist during renewal"))?;
        if auth.internal.get("policies") != Some(&json!(user.token.policies)) {
            return Err(Error::internal("policies have changed, not renewing"));
        }
        Ok(user.token.renewed(auth))
    }

    async fn tick(&self) {
        self.failures.forget_old(&self.system.lockout(), self.system.now());
    }
}
