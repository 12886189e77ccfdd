//! `creds/NAME`: dynamic credentials and their leases.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Engine;
use super::role::Role;
use crate::database::PluginError;
use crate::database::plugin::NewUser;
use crate::logical::{
    Error, LeaseOptions, Object, Renewal, Response, Secret, SecretLease, TtlRequest, calculate_ttl,
};

/// How much longer than its lease a credential is valid on the database: the lease's end is computed after it.
const GRACE: Duration = Duration::from_secs(5);

impl Engine {
    /// Creates a user for a role.
    pub(super) async fn issue(&self, name: &str, display_name: &str) -> Result<Response, Error> {
        let role =
            self.find_role(name)?.ok_or_else(|| Error::bad_request(format!("unknown role: {name}")))?;
        let config = self.connection(&role.db_name)?;
        if !config.allows(name) {
            return Err(Error::internal(format!("{name:?} is not an allowed role")));
        }
        if let Some(text) = role.credential.kind.unsupported() {
            return Err(Error::bad_request(text));
        }
        let (ttl, _) = calculate_ttl(
            self.system.as_ref(),
            &TtlRequest { role_ttl: role.default_ttl, role_max_ttl: role.max_ttl, ..TtlRequest::default() },
        )?;
        let password = self.new_password(role.credential.password_policy(), &config).await?;
        let expiration = self.system.now() + ttl + GRACE;
        let request = Arc::new(UserRequest {
            display_name: display_name.to_owned(),
            name: name.to_owned(),
            role,
            password,
        });
        let made = self
            .with_plugin(&request.role.db_name, |plugin| {
                let request = Arc::clone(&request);
                Box::pin(async move {
                    let made = plugin
                        .new_user(&NewUser {
                            display_name: &request.display_name,
                            role: &request.name,
                            statements: &request.role.creation_statements,
                            rollback: &request.role.rollback_statements,
                            password: &request.password,
                            expiration,
                        })
                        .await;
                    match made {
                        Err(leaked @ PluginError::Leaked { .. }) => Ok(Err(leaked)),
                        other => other.map(Ok),
                    }
                })
            })
            .await?;
        let role = &request.role;
        let username = match made {
            Ok(username) => username,
            Err(error) => {
                self.note_leaked(role, &error).await?;
                return Err(error.into());
            }
        };
        let data = json!({ "username": username, "password": request.password.as_str() });
        let internal = json!({
            "username": username,
            "role": name,
            "db_name": role.db_name,
            "revocation_statements": role.revocation_statements,
        });
        let lease = LeaseOptions {
            ttl: role.default_ttl,
            max_ttl: role.max_ttl,
            renewable: true,
            ..LeaseOptions::default()
        };
        let mut response = Response::json(data);
        response.secret =
            Some(Box::new(Secret { lease, internal: object(internal), lease_id: String::new() }));
        Ok(response)
    }

    /// Extends a credential: the role must still exist.
    pub(super) async fn renew(&self, lease: &SecretLease) -> Result<Renewal, Error> {
        let missing =
            |field: &str| Error::internal(format!("secret is missing {field:?} field in internal data"));
        let username = text(&lease.internal, "username").ok_or_else(|| missing("username"))?;
        let name = text(&lease.internal, "role").ok_or_else(|| missing("role"))?;
        let role = self.find_role(name)?.ok_or_else(|| {
            Error::internal(format!("error during renew: could not find role with name {name:?}"))
        })?;
        let (ttl, _) = calculate_ttl(
            self.system.as_ref(),
            &TtlRequest {
                increment: lease.lease.increment,
                role_ttl: role.default_ttl,
                role_max_ttl: role.max_ttl,
                issue_time: lease.lease.issue_time,
                ..TtlRequest::default()
            },
        )?;
        let expiration = self.system.now() + ttl + GRACE;
        let statements = Arc::new(role.renew_statements);
        let username = Arc::new(username.to_owned());
        self.with_plugin(&role.db_name, |plugin| {
            let (username, statements) = (Arc::clone(&username), Arc::clone(&statements));
            Box::pin(async move { plugin.renew_user(&username, &statements, expiration).await })
        })
        .await?;
        // The core caps what was asked for, and warns.
        let asked = if lease.lease.increment.is_zero() { role.default_ttl } else { lease.lease.increment };
        Ok(Renewal { ttl: asked, max_ttl: role.max_ttl, ..Renewal::default() })
    }

    /// Removes a credential's user: by the role's statements as they are now, or those kept in the lease when
    /// the role is gone.
    pub(super) async fn revoke(&self, lease: &SecretLease) -> Result<(), Error> {
        let username = text(&lease.internal, "username")
            .ok_or_else(|| Error::internal("secret is missing username internal data"))?;
        let name =
            text(&lease.internal, "role").ok_or_else(|| Error::internal("no role name was provided"))?;
        let (db_name, statements) = match self.find_role(name)? {
            Some(role) => (role.db_name, role.revocation_statements),
            None => embedded(&lease.internal, name)?,
        };
        let (username, statements) = (Arc::new(username.to_owned()), Arc::new(statements));
        self.with_plugin(&db_name, |plugin| {
            let (username, statements) = (Arc::clone(&username), Arc::clone(&statements));
            Box::pin(async move { plugin.revoke_user(&username, &statements).await })
        })
        .await
    }
}

/// What a new user is made from, shared with the database operation.
struct UserRequest {
    display_name: String,
    name: String,
    role: Role,
    password: zeroize::Zeroizing<String>,
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

fn text<'a>(internal: &'a Object, key: &str) -> Option<&'a str> {
    internal.get(key).and_then(Value::as_str)
}

/// Connection and revocation statements kept in a lease.
fn embedded(internal: &Object, role: &str) -> Result<(String, Vec<String>), Error> {
    let lost = |what: &str| {
        Error::internal(format!(
            "error during revoke: could not find role with name {role:?} or embedded {what}"
        ))
    };
    let db_name = text(internal, "db_name").ok_or_else(|| lost("revocation db name data"))?;
    let statements = match internal.get("revocation_statements") {
        Some(Value::Null) => Vec::new(),
        Some(Value::Array(entries)) => entries.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return Err(lost("revocation statement data")),
    };
    Ok((db_name.to_owned(), statements))
}
