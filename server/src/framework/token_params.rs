//! The `token_*` parameters every auth method has on its roles and users.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::network;
use crate::logical::{Auth, Error, Fields, LeaseOptions, Object, TokenType};

/// Names of the parameters, for a backend's routes.
pub const TOKEN_PARAMETERS: &[&str] = &[
    "token_bound_cidrs",
    "token_explicit_max_ttl",
    "token_max_ttl",
    "token_no_default_policy",
    "token_num_uses",
    "token_period",
    "token_policies",
    "token_ttl",
    "token_type",
];

/// What tokens issued by a role or for a user are like. Zero and empty mean "not limited".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenParams {
    /// Networks the tokens may be used from.
    pub bound_cidrs: Vec<IpNet>,
    /// Hard limit, also for periodic tokens.
    pub explicit_max_ttl: Duration,
    /// Longest life.
    pub max_ttl: Duration,
    /// Leave out the policy `default`.
    pub no_default_policy: bool,
    /// Uses.
    pub num_uses: i64,
    /// Period of periodic tokens.
    pub period: Duration,
    /// Policies.
    pub policies: Vec<String>,
    /// First life; zero takes the mount's default.
    pub ttl: Duration,
    /// Kind of token; `None` is the mount's default.
    pub token_type: Option<TokenType>,
}

impl TokenParams {
    /// Takes over the parameters a request sends and leaves the others.
    ///
    /// # Errors
    /// Vault's error response (400) for values that are wrong alone or together.
    pub fn update(&mut self, fields: Fields<'_>) -> Result<(), Error> {
        if let Some(texts) = fields.comma_strings("token_bound_cidrs")? {
            self.bound_cidrs = network::parse_addresses(&texts).map_err(Error::bad_request)?;
        }
        if let Some(limit) = fields.duration("token_explicit_max_ttl")? {
            self.explicit_max_ttl = limit;
        }
        if let Some(limit) = fields.duration("token_max_ttl")? {
            self.max_ttl = limit;
        }
        if let Some(flag) = fields.bool("token_no_default_policy")? {
            self.no_default_policy = flag;
        }
        if let Some(period) = fields.duration("token_period")? {
            self.period = period;
        }
        if let Some(policies) = fields.comma_strings("token_policies")? {
            self.policies = policies;
        }
        if let Some(text) = fields.string("token_type")? {
            self.token_type = parse_token_type(&text)?;
        }
        if let Some(uses) = fields.int("token_num_uses")? {
            self.num_uses = uses;
        }
        if let Some(ttl) = fields.duration("token_ttl")? {
            self.ttl = ttl;
        }
        self.check()
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::bad_request(text));
        if self.num_uses < 0 {
            return refuse("'token_num_uses' cannot be negative");
        }
        if self.token_type == Some(TokenType::Batch) {
            if !self.period.is_zero() {
                return refuse(
                    "'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens",
                );
            }
            if self.num_uses != 0 {
                return refuse(
                    "'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count",
                );
            }
        }
        if !self.max_ttl.is_zero() && self.ttl > self.max_ttl {
            return refuse("'token_ttl' cannot be greater than 'token_max_ttl'");
        }
        Ok(())
    }

    /// Adds the parameters to what a read of the role or user answers.
    pub fn describe(&self, data: &mut Object) {
        let token_type = self.token_type.map_or_else(|| "default".to_owned(), |kind| kind.to_string());
        let entries: [(&str, Value); 9] = [
            ("token_bound_cidrs", network::to_json(&self.bound_cidrs)),
            ("token_explicit_max_ttl", json!(self.explicit_max_ttl.as_secs())),
            ("token_max_ttl", json!(self.max_ttl.as_secs())),
            ("token_no_default_policy", json!(self.no_default_policy)),
            ("token_num_uses", json!(self.num_uses)),
            ("token_period", json!(self.period.as_secs())),
            ("token_policies", json!(self.policies)),
            ("token_ttl", json!(self.ttl.as_secs())),
            ("token_type", json!(token_type)),
        ];
        data.extend(entries.map(|(name, value)| (name.to_owned(), value)));
    }

    /// A login with these parameters; the backend adds who logged in.
    pub fn auth(&self) -> Auth {
        Auth {
            lease: LeaseOptions {
                ttl: self.ttl,
                max_ttl: self.max_ttl,
                renewable: true,
                ..LeaseOptions::default()
            },
            policies: self.policies.clone(),
            period: self.period,
            explicit_max_ttl: self.explicit_max_ttl,
            num_uses: self.num_uses,
            bound_cidrs: self.bound_cidrs.clone(),
            no_default_policy: self.no_default_policy,
            token_type: self.token_type.unwrap_or_default(),
            ..Auth::default()
        }
    }

    /// What a renewal grants: the login as it was, with the limits as they are now.
    #[must_use]
    pub fn renewed(&self, auth: &Auth) -> Auth {
        let mut renewed = auth.clone();
        renewed.lease.ttl = self.ttl;
        renewed.lease.max_ttl = self.max_ttl;
        renewed.period = self.period;
        renewed
    }
}

fn parse_token_type(text: &str) -> Result<Option<TokenType>, Error> {
    match text {
        "" | "default" => Ok(None),
        "service" | "default-service" => Ok(Some(TokenType::Service)),
        "batch" | "default-batch" => Ok(Some(TokenType::Batch)),
        other => Err(Error::bad_request(format!("invalid 'token_type' value {other:?}"))),
    }
}

/// The warning Vault gives for a token type it adjusts, if this is one.
pub fn token_type_warning(fields: Fields<'_>) -> Result<Option<String>, Error> {
    let text = fields.string("token_type")?;
    Ok(match text.as_deref() {
        Some(kind @ ("default-service" | "default-batch")) => {
            let adjusted = kind.trim_start_matches("default-");
            Some(format!("{kind} has no useful meaning; adjusting to {adjusted}"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(params: &mut TokenParams, body: &Value) -> Result<(), Error> {
        params.update(Fields::new(body.as_object().unwrap()))
    }

    #[test]
    fn parameters_reach_the_login_and_read_back() {
        let mut params = TokenParams::default();
        let body = json!({
            "token_bound_cidrs": "127.0.0.1,10.0.0.0/8", "token_explicit_max_ttl": "3h",
            "token_max_ttl": "2h", "token_no_default_policy": true, "token_num_uses": 4,
            "token_policies": ["a", "b"], "token_ttl": 60, "token_type": "service",
            "token_period": "5m",
        });
        update(&mut params, &body).unwrap();
        let auth = params.auth();
        assert_eq!(auth.lease.ttl, Duration::from_mins(1));
        assert_eq!(auth.lease.max_ttl, Duration::from_hours(2));
        assert!(auth.lease.renewable && auth.no_default_policy);
        assert_eq!((auth.num_uses, auth.bound_cidrs.len()), (4, 2));
        assert_eq!(auth.explicit_max_ttl, Duration::from_hours(3));
        let mut data = Object::new();
        params.describe(&mut data);
        assert_eq!(
            Value::Object(data),
            json!({
                "token_bound_cidrs": ["127.0.0.1", "10.0.0.0/8"], "token_explicit_max_ttl": 10800,
                "token_max_ttl": 7200, "token_no_default_policy": true, "token_num_uses": 4,
                "token_period": 300, "token_policies": ["a", "b"], "token_ttl": 60,
                "token_type": "service",
            })
        );
    }

    #[test]
    fn a_partial_update_keeps_the_rest() {
        let mut params = TokenParams::default();
        update(&mut params, &json!({"token_ttl": 60, "token_policies": "a"})).unwrap();
        update(&mut params, &json!({"token_policies": "b"})).unwrap();
        assert_eq!(params.ttl, Duration::from_mins(1));
        assert_eq!(params.policies, ["b"]);
    }

    #[test]
    fn contradictions_are_refused() {
        for (body, text) in [
            (json!({"token_ttl": 60, "token_max_ttl": 30}), "cannot be greater than 'token_max_ttl'"),
            (json!({"token_num_uses": -1}), "cannot be negative"),
            (json!({"token_type": "batch", "token_period": 5}), "periodic tokens"),
            (json!({"token_type": "batch", "token_num_uses": 5}), "limited use count"),
            (json!({"token_type": "odd"}), "invalid 'token_type' value \"odd\""),
            (json!({"token_bound_cidrs": "x"}), "Unable to convert \"x\""),
            (json!({"token_ttl": "soon"}), "Field validation failed"),
        ] {
            let error = update(&mut TokenParams::default(), &body).unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn default_token_types_are_adjusted_with_a_warning() {
        let body = json!({"token_type": "default-service"});
        let fields = Fields::new(body.as_object().unwrap());
        assert_eq!(
            token_type_warning(fields).unwrap().unwrap(),
            "default-service has no useful meaning; adjusting to service"
        );
        let mut params = TokenParams::default();
        params.update(fields).unwrap();
        assert_eq!(params.token_type, Some(TokenType::Service));
    }
}
