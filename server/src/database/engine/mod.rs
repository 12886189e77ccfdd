//! The backend: endpoints, and what they share.

mod config;
mod credential;
mod creds;
mod instances;
mod leaked;
mod locks;
mod role;
mod root;
mod rotation;
mod static_role;
#[cfg(test)]
mod tests;
mod wal;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use zeroize::Zeroizing;

use self::config::ConnectionConfig;
use self::instances::Instances;
use self::locks::Locks;
use self::rotation::Schedule;
use super::password::PasswordPolicy;
use crate::framework::{Route, Router, Row, open_route, route};
use crate::logical::{
    Backend, BackendContext, Error, Fields, Operation, Renewal, Request, Response, SecretLease, System, View,
};

use Operation::{Create, Delete, List, Read, Update};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Connections,
    Connection,
    Reset,
    Roles,
    Role,
    Creds,
    StaticRoles,
    StaticRole,
    StaticCreds,
    RotateRoot,
    RotateRole,
}

/// The table of endpoints, for help and documentation.
pub(crate) fn reference() -> Vec<Row> {
    routes().iter().map(Route::row).collect()
}

fn routes() -> Vec<Route<Endpoint>> {
    const CRUD: &[Operation] = &[Create, Update, Read, Delete];
    vec![
        route("config/?", &[List], &[], Endpoint::Connections),
        // Whatever a plugin takes is a parameter.
        open_route("config/{name}", CRUD, Endpoint::Connection),
        route("reset/{name}", &[Update], &[], Endpoint::Reset),
        route("roles/?", &[List], &[], Endpoint::Roles),
        route("roles/{name}", CRUD, &[role::COMMON_PARAMETERS, role::PARAMETERS], Endpoint::Role),
        route("creds/{name}", &[Read], &[], Endpoint::Creds),
        route("static-roles/?", &[List], &[], Endpoint::StaticRoles),
        route(
            "static-roles/{name}",
            CRUD,
            &[role::COMMON_PARAMETERS, static_role::PARAMETERS],
            Endpoint::StaticRole,
        ),
        route("static-creds/{name}", &[Read], &[], Endpoint::StaticCreds),
        route("rotate-root/{name}", &[Update], &[], Endpoint::RotateRoot),
        route("rotate-role/{name}", &[Update], &[], Endpoint::RotateRole),
    ]
}

/// A mount of the database secrets engine.
pub struct DatabaseEngine {
    engine: Arc<Engine>,
    router: Router<Endpoint>,
    /// Whether an earlier tick is still recovering what was interrupted.
    recovering: Arc<AtomicBool>,
}

impl DatabaseEngine {
    /// Makes the backend of a mount, for [`crate::logical::Factory`].
    ///
    /// # Errors
    /// None; the signature is the factory's.
    pub fn factory(context: BackendContext) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(Self::new(context)))
    }

    fn new(context: BackendContext) -> Self {
        let engine = Engine {
            storage: context.storage,
            system: context.system,
            instances: Instances::default(),
            connection_locks: Locks::default(),
            role_locks: Locks::default(),
            schedule: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        Self { engine: Arc::new(engine), router: Router::new(routes()), recovering: Arc::default() }
    }

    /// Starts the periodic work: a database that hangs must hold up neither the core nor what is due on others.
    fn start_periodic_work(&self) {
        let (engine, recovering) = (Arc::clone(&self.engine), Arc::clone(&self.recovering));
        tokio::spawn(async move {
            if !recovering.swap(true, Ordering::AcqRel) {
                engine.recover_connections().await;
                engine.remove_leaked().await;
                recovering.store(false, Ordering::Release);
            }
            engine.rotate_due().await;
        });
    }
}

/// State of a mount, shared with its background work.
struct Engine {
    storage: View,
    system: Arc<dyn System>,
    instances: Instances,
    /// Serialises what changes a connection's settings or account.
    connection_locks: Locks,
    /// Serialises what changes a static role.
    role_locks: Locks,
    schedule: Mutex<Schedule>,
    /// Set when the mount is unloaded: background work ends.
    closed: AtomicBool,
}

impl Engine {
    /// A new password: by the role's policy, else the connection's, else Vault's default form.
    async fn new_password(
        &self,
        role_policy: &str,
        config: &ConnectionConfig,
    ) -> Result<Zeroizing<String>, Error> {
        let policy = if role_policy.is_empty() { &config.password_policy } else { role_policy };
        let password = if policy.is_empty() {
            PasswordPolicy::vault_default().generate().map_err(|e| e.to_string())
        } else {
            let made = self.system.generate_password(policy).await;
            made.map(Zeroizing::new).map_err(|e| e.to_string())
        };
        password.map_err(|e| Error::internal(format!("failed to generate password: {e}")))
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A list of statements: a single text is a list of one, an empty text an empty list.
fn statements(fields: Fields<'_>, name: &str) -> Result<Option<Vec<String>>, Error> {
    let given = fields.strings(name)?;
    Ok(given.map(|list| if list == [""] { Vec::new() } else { list }))
}

#[async_trait]
impl Backend for DatabaseEngine {
    fn endpoints(&self) -> Vec<Row> {
        reference()
    }

    fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        let Some((route, captures)) = self.router.find(&request.path) else {
            return Ok(None);
        };
        let name = captures.first().map_or("", |(_, name)| name);
        let key = match route.endpoint {
            Endpoint::Connection => config::key(name),
            Endpoint::Role => role::key(name),
            Endpoint::StaticRole => static_role::key(name),
            _ => return Ok(None),
        };
        Ok(Some(self.engine.storage.get(&key)?.is_some()))
    }

    async fn handle(&self, request: &Request) -> Result<Option<Response>, Error> {
        let call = self.router.resolve(request)?;
        let name = call.path_field("name");
        let engine = &self.engine;
        let response = match (call.endpoint, call.operation()) {
            (Endpoint::Connections, _) => Response::list(engine.storage.list("config/")?),
            (Endpoint::Connection, Read) => engine.read_connection(name)?,
            (Endpoint::Connection, Delete) => engine.delete_connection(name).await?,
            (Endpoint::Connection, _) => engine.write_connection(name, &call).await?,
            (Endpoint::Reset, _) => engine.reset_connection(name).await?,
            (Endpoint::Roles, _) => Response::list(engine.storage.list(role::PREFIX)?),
            (Endpoint::Role, Read) => engine.read_role(name)?,
            (Endpoint::Role, Delete) => engine.delete_role(name).await?,
            (Endpoint::Role, _) => engine.write_role(name, call.fields()).await?,
            (Endpoint::Creds, _) => Some(engine.issue(name, request.display_name()).await?),
            (Endpoint::StaticRoles, _) => Response::list(engine.storage.list(static_role::PREFIX)?),
            (Endpoint::StaticRole, Read) => engine.read_static_role(name)?,
            (Endpoint::StaticRole, Delete) => engine.delete_static_role(name).await?,
            (Endpoint::StaticRole, _) => engine.write_static_role(name, call.fields()).await?,
            (Endpoint::StaticCreds, _) => Some(engine.read_static_creds(name)?),
            (Endpoint::RotateRoot, _) => engine.rotate_root(name).await?,
            (Endpoint::RotateRole, _) => engine.rotate_role(name).await?,
        };
        Ok(call.finish(response))
    }

    async fn renew(&self, lease: &SecretLease) -> Result<Renewal, Error> {
        self.engine.renew(lease).await
    }

    async fn revoke(&self, lease: &SecretLease) -> Result<(), Error> {
        self.engine.revoke(lease).await
    }

    async fn initialize(&self) -> Result<(), Error> {
        self.engine.load_schedule().await?;
        self.start_periodic_work();
        Ok(())
    }

    async fn tick(&self) {
        self.start_periodic_work();
    }

    async fn unload(&self) {
        self.engine.closed.store(true, Ordering::Release);
        self.engine.instances.close_all();
    }
}
