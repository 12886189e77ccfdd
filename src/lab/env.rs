//! The lab as environment variables.

use serde_json::{Map, Value};

use super::{LabError, RoleCredential, RunningLab};
use crate::secret::Secret;

/// An environment variable; its value may be a secret.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

impl Variable {
    fn new(name: impl Into<String>, value: impl Into<Secret>) -> Self {
        Self { name: name.into(), value: value.into() }
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
    /// For `$GITHUB_ENV`; masks are not part of it.
    Github,
}

impl RunningLab {
    /// Addresses, token, and where the AppRoles find their pair. Needs no lease.
    pub fn variables(&self) -> Vec<Variable> {
        let mut all = vec![Variable::new("VAULT_ADDR", self.vault().address())];
        if let Some(token) = self.vault().token() {
            all.push(Variable::new("VAULT_TOKEN", token.clone()));
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

impl RoleCredential {
    /// `ROLE_USERNAME`, `ROLE_PASSWORD` and `ROLE_URL`: all of one lease.
    pub fn variables(&self) -> Vec<Variable> {
        let prefix = variable_name(&self.role);
        vec![
            Variable::new(format!("{prefix}_USERNAME"), self.username.as_str()),
            Variable::new(format!("{prefix}_PASSWORD"), self.password.clone()),
            Variable::new(format!("{prefix}_URL"), self.url()),
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
        variables.push(Variable { name: new.clone(), value: found.value });
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
            EnvFormat::Shell => format!("export {name}='{}'\n", value.replace('\'', r"'\''")),
            _ => format!("{name}={value}\n"),
        }
    };
    variables.iter().map(line).collect()
}

/// `pg-read` as `PG_READ`: upper case, everything else than letters and digits as `_`.
fn variable_name(name: &str) -> String {
    let upper = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    let name: String = upper.collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_variables() {
        assert_eq!(variable_name("pg-read"), "PG_READ");
        assert_eq!(variable_name("3.x"), "_3_X");
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
