//! The AppRole auth method: machines log in with a role_id and a secret_id.
//!
//! Behaves as Vault's `approle`, with one difference: an expired secret_id is refused at once.
//! Vault doesn't look at the expiry at login and relies on a tidy that runs once a minute, so there
//! an expired secret_id works for up to a minute more.

mod login;
mod role;
mod role_field;
mod role_paths;
mod secret_id;
mod secret_id_paths;
mod store;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use self::role::ROLE_PARAMETERS;
use self::role_field::{ROLE_FIELD_PATHS, RoleField};
use self::secret_id::SECRET_ID_PARAMETERS;
use self::store::Store;
use crate::framework::{FailedLogins, Route, Router, Row, TOKEN_PARAMETERS, route};
use crate::logical::{
    Auth, Backend, BackendContext, Error, Operation, Request, Response, SpecialPaths, System,
};

/// How often expired secret_ids are removed.
const TIDY_INTERVAL: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Login,
    Roles,
    Role,
    Field(RoleField),
    SecretId,
    CustomSecretId,
    LookupSecretId,
    DestroySecretId,
    LookupAccessor,
    DestroyAccessor,
    Tidy,
}

/// An AppRole mount.
pub struct AppRole {
    store: Arc<Store>,
    system: Arc<dyn System>,
    router: Router<Endpoint>,
    failures: FailedLogins,
    tidying: Arc<AtomicBool>,
    last_tidy: Mutex<Timestamp>,
}

impl AppRole {
    /// Makes the backend of a mount, for [`crate::logical::Factory`].
    ///
    /// # Errors
    /// None; the signature is the factory's.
    pub fn factory(context: BackendContext) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(Self::new(context)))
    }

    fn new(context: BackendContext) -> Self {
        Self {
            store: Arc::new(Store::new(context.storage)),
            last_tidy: Mutex::new(context.system.now()),
            system: context.system,
            router: Router::new(routes()),
            failures: FailedLogins::default(),
            tidying: Arc::default(),
        }
    }

    /// Whether a minute has passed since this last said so.
    fn is_tidy_due(&self) -> bool {
        let now = self.system.now();
        let mut last = self.last_tidy.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = Duration::try_from(now.duration_since(*last)).unwrap_or_default();
        let due = passed >= TIDY_INTERVAL;
        if due {
            *last = now;
        }
        due
    }
}

/// The table of endpoints, for help and documentation.
pub(crate) fn reference() -> Vec<Row> {
    routes().iter().map(Route::row).collect()
}

fn routes() -> Vec<Route<Endpoint>> {
    const WRITE: &[Operation] = &[Operation::Update];
    const DESTROY: &[Operation] = &[Operation::Update, Operation::Delete];
    const ROLE: &[Operation] = &[Operation::Create, Operation::Update, Operation::Read, Operation::Delete];
    let mut routes = vec![
        route("login", WRITE, &[&["role_id", "secret_id"]], Endpoint::Login),
        route("role/?", &[Operation::List], &[], Endpoint::Roles),
        route("role/{role_name}", ROLE, &[ROLE_PARAMETERS, TOKEN_PARAMETERS], Endpoint::Role),
        route(
            "role/{role_name}/secret-id/?",
            &[Operation::Update, Operation::List],
            &[SECRET_ID_PARAMETERS],
            Endpoint::SecretId,
        ),
        route(
            "role/{role_name}/custom-secret-id",
            WRITE,
            &[SECRET_ID_PARAMETERS, &["secret_id"]],
            Endpoint::CustomSecretId,
        ),
        route("role/{role_name}/secret-id/lookup/?", WRITE, &[&["secret_id"]], Endpoint::LookupSecretId),
        route("role/{role_name}/secret-id/destroy/?", DESTROY, &[&["secret_id"]], Endpoint::DestroySecretId),
        route(
            "role/{role_name}/secret-id-accessor/lookup/?",
            WRITE,
            &[&["secret_id_accessor"]],
            Endpoint::LookupAccessor,
        ),
        route(
            "role/{role_name}/secret-id-accessor/destroy/?",
            DESTROY,
            &[&["secret_id_accessor"]],
            Endpoint::DestroyAccessor,
        ),
        route("tidy/secret-id", WRITE, &[], Endpoint::Tidy),
    ];
    routes.extend(
        ROLE_FIELD_PATHS.iter().map(|path| {
            route(path.pattern, path.operations, &[path.parameters], Endpoint::Field(path.field))
        }),
    );
    routes
}

#[async_trait]
impl Backend for AppRole {
    fn endpoints(&self) -> Vec<Row> {
        reference()
    }

    fn special_paths(&self) -> SpecialPaths {
        SpecialPaths { unauthenticated: &["login"], ..SpecialPaths::default() }
    }

    fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        Ok(match self.router.find(&request.path) {
            Some((route, captures)) if route.endpoint == Endpoint::Role => {
                let name = captures.first().map_or("", |(_, name)| name);
                Some(self.store.role(name).is_some())
            }
            _ => None,
        })
    }

    async fn handle(&self, request: &Request) -> Result<Option<Response>, Error> {
        let call = self.router.resolve(request)?;
        let response = match call.endpoint {
            Endpoint::Login => self.login(&call).await?,
            Endpoint::Roles => self.list_roles(),
            Endpoint::Role => self.role(&call).await?,
            Endpoint::Field(field) => self.role_field(&call, field).await?,
            Endpoint::SecretId => self.secret_id(&call).await?,
            Endpoint::CustomSecretId => self.custom_secret_id(&call).await?,
            Endpoint::LookupSecretId => self.lookup_secret_id(&call)?,
            Endpoint::DestroySecretId => self.destroy_secret_id(&call).await?,
            Endpoint::LookupAccessor => self.lookup_accessor(&call)?,
            Endpoint::DestroyAccessor => self.destroy_accessor(&call).await?,
            Endpoint::Tidy => Some(self.tidy()),
        };
        Ok(call.finish(response))
    }

    async fn renew_auth(&self, auth: &Auth) -> Result<Auth, Error> {
        self.renew_login(auth)
    }

    async fn initialize(&self) -> Result<(), Error> {
        Ok(self.store.load()?)
    }

    async fn tick(&self) {
        self.failures.forget_old(&self.system.lockout(), self.system.now());
        if self.is_tidy_due()
            && let Err(error) = self.store.remove_expired(self.system.now()).await
        {
            tracing::warn!(%error, "approle: cannot remove expired secret_ids");
        }
    }

    async fn unload(&self) {
        self.store.unload();
    }
}
