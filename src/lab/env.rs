//! The lab as environment variables.

use serde_json::{Map, Value};

use super::{LabError, RoleCredential, RunningLab};
use crate::secret::Secret;
use crate::shell::always_quote;
use crate::spec::variable_name;

/// An environment variable; its value may be a secret.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
    /// Whether the value must not be shown.
    pub sensitive: bool,
}

impl Variable {
    fn new(name: impl Into<String>, value: impl Into<Secret>) -> Self {
        Self { name: name.into(), value: value.into(), sensitive: false }
    }

    fn sensitive(name: impl Into<String>, value: impl Into<Secret>) -> Self {
        Self { sensitive: true, ..Self::new(name, value) }
    }
}

/// How variables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnvFormat {
    /// `export NAME='value'`, for `eval`.
    #[default]
    Shell,
    /// `NAME=value`, for dotenv files and `docker run --env-file`.
    Dotenv,
    /// One JSON object.
    Json,
    /// For `$GITHUB_ENV`; the [`masks`] are not part of it.
    Github,
}

impl RunningLab {
    /// Addresses, token, and where the AppRoles find their pair. Needs no lease.
    pub fn variables(&self) -> Vec<Variable> {
        let mut all = vec![Variable::new("VAULT_ADDR", self.vault().address())];
        if let Some(token) = self.vault().token() {
            all.push(Variable::sensitive("VAULT_TOKEN", token.clone()));
        }
        for database in self.databases() {
            let prefix = variable_name(&database.name);
            all.push(Variable::new(format!("{prefix}_HOST"), database.host.as_str()));
            all.push(Variable::new(format!("{prefix}_PORT"), database.port.to_string()));
            all.push(Variable::new(format!("{prefix}_DATABASE"), database.database.as_str()));
        }
        for approle in self.summary().approles {
            let prefix = variable_name(&approle.name);
            let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
            all.push(Variable::new(format!("{prefix}_ROLE_ID_FILE"), path(&approle.role_id_file)));
            all.push(Variable::new(format!("{prefix}_SECRET_ID_FILE"), path(&approle.secret_id_file)));
        }
        all
    }
}

impl RunningLab {
    /// The credentials of the static roles as they are now: they need no lease, and end with the next
    /// rotation.
    pub async fn static_variables(&self) -> Result<Vec<Variable>, LabError> {
        let mut all = Vec::new();
        for (_, role) in self.lab().spec().static_roles() {
            all.extend(self.credential(&role.name).await?.variables());
        }
        Ok(all)
    }
}

impl RoleCredential {
    /// `ROLE_USERNAME`, `ROLE_PASSWORD` and `ROLE_URL`: all of one lease, or of one rotation.
    pub fn variables(&self) -> Vec<Variable> {
        let prefix = variable_name(&self.role);
        vec![
            Variable::new(format!("{prefix}_USERNAME"), self.username.as_str()),
            Variable::sensitive(format!("{prefix}_PASSWORD"), self.password.clone()),
            Variable::sensitive(format!("{prefix}_URL"), self.url()),
        ]
    }
}

/// Adds every `NEW=EXISTING` of `map`: the lab's variable under the application's own name.
///
/// # Errors
/// [`LabError::UnknownVariable`] lists the variables there are.
pub fn apply_map(variables: &mut Vec<Variable>, map: &[(String, String)]) -> Result<(), LabError> {
    for (new, existing) in map {
        let found = variables.iter().find(|variable| variable.name == *existing).cloned();
        let Some(found) = found else {
            return Err(LabError::UnknownVariable {
                variable: existing.clone(),
                known: variables.iter().map(|variable| variable.name.clone()).collect(),
            });
        };
        variables.retain(|variable| variable.name != *new);
        variables.push(Variable { name: new.clone(), ..found });
    }
    Ok(())
}

/// The variables as text, a newline at the end.
pub fn render(variables: &[Variable], format: EnvFormat) -> String {
    if format == EnvFormat::Json {
        let object: Map<String, Value> =
            variables.iter().map(|v| (v.name.clone(), v.value.expose().into())).collect();
        return format!("{:#}\n", Value::Object(object));
    }
    let line = |variable: &Variable| {
        let (name, value) = (&variable.name, variable.value.expose());
        match format {
            EnvFormat::Shell => format!("export {name}={}\n", always_quote(value)),
            _ => format!("{name}={value}\n"),
        }
    };
    variables.iter().map(line).collect()
}

/// Workflow commands that keep GitHub's log from showing the values, a line each. They belong into
/// the log, not into `$GITHUB_ENV`.
pub fn masks(variables: &[Variable]) -> String {
    let sensitive = variables.iter().filter(|variable| variable.sensitive);
    sensitive.map(|variable| format!("::add-mask::{}\n", variable.value.expose())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_for_what_must_not_be_shown() {
        let variables = [Variable::new("A", "1"), Variable::sensitive("T", "hvs.x")];
        assert_eq!(masks(&variables), "::add-mask::hvs.x\n");
    }

    #[test]
    fn shell_output_survives_quotes() {
        let variables = [Variable::new("A", "it's $HOME")];
        assert_eq!(render(&variables, EnvFormat::Shell), "export A='it'\\''s $HOME'\n");
        assert_eq!(render(&variables, EnvFormat::Dotenv), "A=it's $HOME\n");
        assert_eq!(render(&variables, EnvFormat::Json), "{\n  \"A\": \"it's $HOME\"\n}\n");
    }

    #[test]
    fn a_map_renames_and_an_unknown_name_lists_what_there_is() {
        let mut variables = vec![Variable::new("A", "1"), Variable::new("B", "2")];
        apply_map(&mut variables, &[("DB".into(), "A".into()), ("B".into(), "A".into())]).unwrap();
        assert_eq!(render(&variables, EnvFormat::Dotenv), "A=1\nDB=1\nB=1\n");
        let error = apply_map(&mut variables, &[("X".into(), "Y".into())]).unwrap_err();
        assert_eq!(error.to_string(), r#"there is no variable "Y"; there are A, DB, B"#);
    }
}
