//! Configuration of a Vault Agent for an AppRole: as the lab delivers role_id and secret_id, and with
//! a template that renders the credentials it may have.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vaultlab_server::policy::{Acl, Policy};

use super::{DatabaseInfo, LabError, RunningLab};
use crate::shell::quote_path;
use crate::spec::model::{AppRoleSpec, Engine};
use crate::spec::variable_name;
use crate::state::{Visibility, write_atomic};
use crate::vault::secret_id_path;

/// What was written for one AppRole.
#[derive(Debug, Clone, Serialize)]
pub struct AgentConfig {
    /// The AppRole.
    pub approle: String,
    /// For `vault agent -config=`.
    pub config: PathBuf,
    /// The template.
    pub template: PathBuf,
    /// What the agent renders: the same variables that `vaultlab exec` sets, as `NAME=value`.
    pub rendered: PathBuf,
    /// Where the agent puts its token.
    pub token: PathBuf,
    /// The roles whose credentials are in the template.
    pub roles: Vec<String>,
}

impl RunningLab {
    /// Writes `agent.hcl` and a template for an AppRole, or for each of them, into `folder/APPROLE/` or,
    /// without a folder, below the lab's own.
    ///
    /// The agent leaves the delivered secret_id where it is: it is replaced before it ends, and read
    /// again whenever the agent has to log in anew.
    pub fn write_agent_config(
        &self,
        approle: Option<&str>,
        folder: Option<&Path>,
    ) -> Result<Vec<AgentConfig>, LabError> {
        let all = &self.lab().spec().approles;
        if let Some(name) = approle.filter(|name| all.iter().all(|spec| spec.name != *name)) {
            return Err(LabError::UnknownAppRole {
                lab: self.lab().name().into(),
                approle: name.into(),
                known: all.iter().map(|spec| spec.name.clone()).collect(),
            });
        }
        let folder = match folder {
            Some(folder) => std::path::absolute(folder).map_err(|source| LabError::File {
                operation: "resolve",
                path: folder.into(),
                source,
            })?,
            None => self.lab().dir().path().join("agent"),
        };
        let wanted = all.iter().filter(|spec| approle.is_none_or(|name| spec.name == name));
        wanted.map(|spec| self.write_one(spec, &folder.join(&spec.name))).collect()
    }

    fn write_one(&self, spec: &AppRoleSpec, folder: &Path) -> Result<AgentConfig, LabError> {
        let roles = self.roles_of(spec);
        let files = AgentConfig {
            approle: spec.name.clone(),
            config: folder.join("agent.hcl"),
            template: folder.join("credentials.ctmpl"),
            rendered: folder.join("credentials.env"),
            token: folder.join("token"),
            roles: roles.iter().map(|readable| readable.role.to_owned()).collect(),
        };
        let pair = spec.deliver.paths(&spec.name, self.lab().dir().path());
        let config =
            config(self.lab().name(), self.vault().address(), spec, &pair, &files, &folder.join("agent.pid"));
        write_atomic(&files.config, config.as_bytes(), Visibility::Private)?;
        write_atomic(&files.template, template(&roles).as_bytes(), Visibility::Private)?;
        Ok(files)
    }

    /// The roles whose credentials the AppRole's policies allow it.
    fn roles_of(&self, spec: &AppRoleSpec) -> Vec<Readable<'_>> {
        let lab = self.lab().spec();
        let policies: Vec<Policy> = lab
            .policies
            .iter()
            .filter(|policy| spec.policies.contains(&policy.name))
            .filter_map(|policy| Policy::parse(&policy.name, &policy.text).ok())
            .collect();
        let acl = Acl::compile(&policies, None);
        lab.credential_paths()
            .filter(|(path, _)| acl.capabilities(path).contains(&"read"))
            .filter_map(|(path, role)| {
                let database = lab.role(role).map(|(database, _)| database);
                let database = database.or_else(|| lab.static_role(role).map(|(database, _)| database))?;
                let info = self.databases().iter().find(|info| info.name == database.name)?;
                Some(Readable { role, info, engine: database.engine, path })
            })
            .collect()
    }
}

/// A role or static role whose credentials an AppRole may read.
struct Readable<'a> {
    role: &'a str,
    info: &'a DatabaseInfo,
    engine: Engine,
    path: String,
}

fn config(
    lab: &str,
    address: &str,
    spec: &AppRoleSpec,
    (role_id, secret_id): &(PathBuf, PathBuf),
    files: &AgentConfig,
    pid_file: &Path,
) -> String {
    let quote = |path: &Path| hcl(&path.to_string_lossy());
    let secret_id_settings = if spec.deliver.wrap_ttl.is_some() {
        format!(
            "      # The file holds a wrapping token, good for one login: the agent removes it, and the lab delivers\n      \
             # another for the next.\n      \
             secret_id_response_wrapping_path = {}\n      \
             remove_secret_id_file_after_reading = true\n",
            hcl(&secret_id_path(&spec.name))
        )
    } else {
        "      # The lab replaces the secret_id before it ends. The agent reads it again at its next login, so\n      \
         # it has to stay.\n      \
         remove_secret_id_file_after_reading = false\n"
            .to_owned()
    };
    format!(
        r#"# Vault Agent for the AppRole {approle} of the lab {lab}:
#   vault agent -config={file}
# Written by `vaultlab agent-config`; write it anew when the lab's ports have changed.

pid_file = {pid_file}

vault {{
  address = {address}
}}

auto_auth {{
  method "approle" {{
    mount_path = "auth/approle"

    config = {{
      role_id_file_path   = {role_id}
      secret_id_file_path = {secret_id}
{secret_id_settings}    }}
  }}

  sink "file" {{
    config = {{
      path = {token}
    }}
  }}
}}

template {{
  source      = {template}
  destination = {rendered}
  perms       = "0600"
}}
"#,
        approle = files.approle,
        file = quote_path(&files.config),
        pid_file = quote(pid_file),
        address = hcl(address),
        role_id = quote(role_id),
        secret_id = quote(secret_id),
        token = quote(&files.token),
        template = quote(&files.template),
        rendered = quote(&files.rendered),
    )
}

/// One block per role, so that user and password are of one lease or rotation.
fn template(roles: &[Readable<'_>]) -> String {
    let mut text = String::new();
    for Readable { role, info, engine, path } in roles {
        let prefix = variable_name(role);
        let scheme = match engine {
            Engine::Postgres => "postgresql",
            Engine::Mysql(_) => "mysql",
        };
        let (at, database) = (info.endpoint(), &info.database);
        let _ = write!(
            text,
            "{{{{ with secret {path:?} -}}}}\n\
             {prefix}_USERNAME={{{{ .Data.username }}}}\n\
             {prefix}_PASSWORD={{{{ .Data.password }}}}\n\
             {prefix}_URL={scheme}://{{{{ .Data.username }}}}:{{{{ .Data.password }}}}@{at}/{database}\n\
             {{{{ end -}}}}\n"
        );
    }
    if text.is_empty() {
        text.push_str("# The policies of this AppRole allow no credentials.\n");
    }
    text
}

/// An HCL string.
fn hcl(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "$${"))
}
