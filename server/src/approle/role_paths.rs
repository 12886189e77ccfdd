//! Requests about roles.

use super::AppRole;
use super::role::{MAX_HMAC_INPUT, Role};
use super::role_field::RoleField;
use crate::framework::Call;
use crate::logical::{Error, Operation, Response};

type Answer = Result<Option<Response>, Error>;

impl AppRole {
    /// `LIST role`.
    pub(super) fn list_roles(&self) -> Option<Response> {
        Response::list(self.store.role_names())
    }

    /// `role/<name>`.
    pub(super) async fn role<E>(&self, call: &Call<'_, E>) -> Answer {
        let name = call.path_field("role_name");
        match call.operation() {
            Operation::Read => Ok(self.store.role(name).map(|role| role.describe())),
            Operation::Delete => {
                let _roles = self.store.change_roles().await;
                if let Some(role) = self.store.role(name) {
                    self.store.remove_role(&role).await?;
                }
                Ok(None)
            }
            _ => self.write_role(call).await,
        }
    }

    async fn write_role<E>(&self, call: &Call<'_, E>) -> Answer {
        let name = call.path_field("role_name").to_lowercase();
        if name.len() > MAX_HMAC_INPUT {
            return Err(Error::bad_request(format!(
                "role_name is longer than maximum of {MAX_HMAC_INPUT} bytes"
            )));
        }
        let _roles = self.store.change_roles().await;
        let existing = self.store.role(&name);
        let new = existing.is_none();
        let mut role = existing.map_or_else(|| Role::new(&name), |role| (*role).clone());
        let warnings = role.update(call.fields(), new, self.system.max_lease_ttl())?;
        self.store.put_role(role).await?;
        Ok((!warnings.is_empty()).then(|| Response { warnings, ..Response::default() }))
    }

    /// `role/<name>/<field>`.
    pub(super) async fn role_field<E>(&self, call: &Call<'_, E>, field: RoleField) -> Answer {
        let name = call.path_field("role_name");
        if call.operation() == Operation::Read {
            return Ok(self.store.role(name).map(|role| field.read(&role)));
        }
        let _roles = self.store.change_roles().await;
        let existing = self.store.role(name);
        let Some(mut role) = existing.map(|role| (*role).clone()) else {
            return match call.operation() {
                Operation::Delete => Ok(None),
                _ => Err(Error::UnsupportedPath),
            };
        };
        if call.operation() == Operation::Delete {
            field.reset(&mut role);
        } else {
            field.write(&mut role, call.fields(), self.system.max_lease_ttl())?;
        }
        self.store.put_role(role).await?;
        Ok(None)
    }
}
