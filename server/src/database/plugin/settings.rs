//! Connection settings that all plugins share, read from `config/NAME`.

use std::time::Duration;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::database::PluginError;
use crate::duration;

/// Open connections when `max_open_connections` is not set.
const DEFAULT_OPEN: i64 = 4;
/// What a negative `max_open_connections`, no limit, means for the pool.
const UNLIMITED: usize = 10_000;

/// Limits of a connection pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time.
    pub open: usize,
    /// Connections kept open while unused.
    pub idle: usize,
    /// Age at which a connection is replaced; `None` for never.
    pub lifetime: Option<Duration>,
}

/// The raw settings of a connection, typed on access the way Vault's weak decoding does it: numbers and
/// booleans may be given as text.
pub struct Settings<'a>(pub &'a Map<String, Value>);

impl Settings<'_> {
    /// A text; empty when absent.
    ///
    /// # Errors
    /// `PluginError::Config` when the value is a list or an object.
    pub fn text(&self, key: &str) -> Result<String, PluginError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(Value::Bool(value)) => Ok(u8::from(*value).to_string()),
            Some(_) => Err(wrong_type(key, "string")),
        }
    }

    /// A secret text; empty when absent.
    ///
    /// # Errors
    /// As [`Settings::text`].
    pub fn secret(&self, key: &str) -> Result<Zeroizing<String>, PluginError> {
        self.text(key).map(Zeroizing::new)
    }

    /// A boolean; false when absent.
    ///
    /// # Errors
    /// `PluginError::Config` when the value is not one.
    pub fn flag(&self, key: &str) -> Result<bool, PluginError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
            Some(Value::String(text)) => match text.as_str() {
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                _ => Err(wrong_type(key, "bool")),
            },
            Some(_) => Err(wrong_type(key, "bool")),
        }
    }

    fn integer(&self, key: &str) -> Result<i64, PluginError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(0),
            Some(Value::Number(number)) => number.as_i64().ok_or_else(|| no_int(key)),
            Some(Value::String(text)) if text.is_empty() => Ok(0),
            Some(Value::String(text)) => text.parse().map_err(|_| no_int(key)),
            Some(_) => Err(wrong_type(key, "int")),
        }
    }

    /// Pool limits, with the defaults and corrections of Vault's SQL plugins.
    ///
    /// # Errors
    /// `PluginError::Config` for values of the wrong type, with Vault's `invalid max_connection_lifetime: …`.
    pub fn limits(&self) -> Result<Limits, PluginError> {
        let open = match self.integer("max_open_connections")? {
            0 => DEFAULT_OPEN,
            n => n,
        };
        let idle = match self.integer("max_idle_connections")? {
            0 => open,
            n => n.min(open),
        };
        let lifetime = duration::parse_value(self.0.get("max_connection_lifetime").unwrap_or(&Value::Null))
            .map_err(|e| PluginError::Config(format!("invalid max_connection_lifetime: {e}")))?;
        Ok(Limits {
            open: usize::try_from(open).unwrap_or(UNLIMITED),
            idle: usize::try_from(idle).unwrap_or(if open < 0 { UNLIMITED } else { 0 }),
            lifetime: (!lifetime.is_zero()).then_some(lifetime),
        })
    }
}

fn no_int(key: &str) -> PluginError {
    PluginError::Config(format!(
        "decoding failed due to the following error(s):\n\n'{key}' cannot parse value as 'int': \
         strconv.ParseInt: invalid syntax"
    ))
}

fn wrong_type(key: &str, expected: &str) -> PluginError {
    PluginError::Config(format!("'{key}' expected type '{expected}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limits(settings: &Value) -> Result<Limits, PluginError> {
        Settings(settings.as_object().unwrap()).limits()
    }

    #[test]
    fn limits_have_vaults_defaults() {
        let made = limits(&json!({})).unwrap();
        assert_eq!((made.open, made.idle, made.lifetime), (4, 4, None));
        let made = limits(
            &json!({"max_open_connections": "7", "max_idle_connections": 9, "max_connection_lifetime": "5s"}),
        );
        assert_eq!(made.unwrap(), Limits { open: 7, idle: 7, lifetime: Some(Duration::from_secs(5)) });
        let made = limits(&json!({"max_idle_connections": -1})).unwrap();
        assert_eq!((made.open, made.idle), (4, 0));
        assert_eq!(limits(&json!({"max_open_connections": -1})).unwrap().open, UNLIMITED);
    }

    #[test]
    fn wrong_types_are_named() {
        let fault = limits(&json!({"max_open_connections": "many"})).unwrap_err();
        assert!(fault.to_string().contains("max_open_connections"));
        let fault = limits(&json!({"max_connection_lifetime": "5 parsecs"})).unwrap_err();
        assert!(fault.to_string().starts_with("invalid max_connection_lifetime"), "{fault}");
        let map = json!({"username": ["x"], "disable_escaping": "maybe"});
        let settings = Settings(map.as_object().unwrap());
        assert!(settings.text("username").is_err());
        assert!(settings.flag("disable_escaping").is_err());
    }
}
