//! The scalar values of the lab file: how each is read and what the schema says about it.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use vaultlab_server::duration;

use super::decode::{At, Decode, Needed, Problems, decode_word, wrong_type};
use super::load::{Node, Value};
use super::model::{Engine, Flavour, MysqlFlavour, RuntimeChoice, Storage};
use super::wire::{AgeRecipients, Audit, AuditDevice, InlineSql, KeyStore, Rotation, RotationEvery, Sql};

/// Words of the lab file for the values of a type, and what to write instead of words that users may
/// expect to work.
macro_rules! words {
    ($(
        $type:ident {
            $($word:literal => $value:expr),*
            $(; instead of $($other:literal => $hint:literal),*)?
        }
    )*) => {$(
        impl Decode for $type {
            fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
                decode_word(node, &[$(($word, $value)),*], &[$($(($other, $hint)),*)?], problems)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    )*};
}

words! {
    RuntimeChoice { "auto" => Self::Auto, "docker" => Self::Docker, "process" => Self::Process }
    Flavour {
        "auto" => Self::Auto,
        "vault" => Self::Vault,
        "openbao" => Self::OpenBao,
        "embedded" => Self::Embedded;
        instead of "hashicorp" => "`vault`", "bao" => "`openbao`"
    }
    Storage {
        "file" => Self::File,
        "raft" => Self::Raft,
        "inmem" => Self::Inmem;
        instead of "memory" => "`inmem`", "integrated" => "`raft`", "disk" => "`file`"
    }
    Engine {
        "postgres" => Self::Postgres,
        "mysql" => Self::Mysql(MysqlFlavour::Auto);
        instead of "mariadb" => "`engine: mysql` and `flavour: mariadb`", "pg" => "`postgres`"
    }
    Protection {
        "plain" => Self::Plain,
        "passphrase" => Self::Passphrase;
        instead of "age" => "`passphrase`, or `{recipients: [age1...]}`", "none" => "`plain`"
    }
    MysqlFlavour { "auto" => Self::Auto, "mysql" => Self::Mysql, "mariadb" => Self::Mariadb }
}

/// How a key store is kept, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    /// As it is.
    Plain,
    /// Encrypted with a passphrase.
    Passphrase,
}

impl Decode for KeyStore {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => AgeRecipients::decode(node, problems).map(Self::Recipients),
            _ => Protection::decode(node, problems).map(Self::Word),
        }
    }
}

/// The only version of the lab file there is.
pub(super) const API_VERSION: &str = "vaultlab/v1";

/// The version of the lab file. A wrong one is a problem like any other: the rest is read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiVersion {
    /// Given, rightly or wrongly.
    Given,
    /// Left out.
    Missing,
}

impl Decode for ApiVersion {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == API_VERSION => {}
            _ => {
                let found = match &node.value {
                    Value::Text(text) => text,
                    _ => &node.raw,
                };
                let message = format!("`{found}` is no version of the lab file that this program knows");
                problems.add_help(node.place, message, format!("write `apiVersion: {API_VERSION}`"));
            }
        }
        Some(Self::Given)
    }

    fn missing() -> Option<Self> {
        Some(Self::Missing)
    }
}

impl JsonSchema for ApiVersion {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ApiVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": API_VERSION })
    }
}

/// `on` or `off`; every other word that YAML has had for them is taken too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switch(pub bool);

impl Decode for Switch {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            return Some(Self(value));
        }
        if let Value::Text(text) = &node.value {
            match text.to_lowercase().as_str() {
                "on" | "yes" | "true" => return Some(Self(true)),
                "off" | "no" | "false" => return Some(Self(false)),
                _ => {}
            }
        }
        decode_word(node, &[("on", Self(true)), ("off", Self(false))], &[], problems)
    }
}

impl JsonSchema for Switch {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Switch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Editors that follow YAML 1.1 read `on` as `true`.
        json_schema!({ "enum": ["on", "off", "yes", "no", true, false] })
    }
}

/// A whole number between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number<const MIN: u32, const MAX: u32>(pub u32);

impl<const MIN: u32, const MAX: u32> Decode for Number<MIN, MAX> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        let Value::Int(value) = node.value else {
            wrong_type(node, "a whole number", problems);
            return None;
        };
        let number = u32::try_from(value).ok().filter(|number| (MIN..=MAX).contains(number));
        if number.is_none() {
            problems.add(node.place, format!("{value} is not between {MIN} and {MAX}"));
        }
        number.map(Self)
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Number<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Number_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A length of time in whole seconds, which is as fine as Vault keeps one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ttl(pub Duration);

impl Decode for Ttl {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        const EXAMPLES: &str = "write a duration such as 90s, 15m, 1h30m or 2d, or a whole number of seconds";
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Int(seconds) => seconds.to_string(),
            Value::Float => {
                problems.add_help(node.place, format!("`{}` is not a duration", node.raw), EXAMPLES);
                return None;
            }
            _ => {
                wrong_type(node, "a duration", problems);
                return None;
            }
        };
        if text.trim().is_empty() {
            problems.add_help(node.place, "this duration is empty", EXAMPLES);
            return None;
        }
        match duration::parse(&text) {
            Ok(value) if value.subsec_nanos() == 0 => Some(Self(value)),
            Ok(_) => {
                let message = format!("`{text}` is not a whole number of seconds");
                problems.add_help(node.place, message, "Vault counts in seconds");
                None
            }
            // The server's words for it are Vault's, and do not name it.
            Err(duration::DurationError::OutOfRange) => {
                problems.add(node.place, format!("the duration `{text}` is out of range"));
                None
            }
            Err(error) => {
                let error = error.to_string();
                let reason = error.strip_prefix("time: ").unwrap_or(&error);
                problems.add_help(node.place, reason, EXAMPLES);
                None
            }
        }
    }
}

impl JsonSchema for Ttl {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": r"^\+?([0-9]+|([0-9]*\.?[0-9]+\.?(ns|us|µs|ms|s|m|h|d))+)$",
        })
    }
}

/// A version as it is written: `1.20` is a number to YAML, and 1.2 is another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version(pub String);

impl Decode for Version {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        let text = match &node.value {
            Value::Text(text) => text.as_str(),
            Value::Int(_) | Value::Float => node.raw.as_str(),
            _ => {
                wrong_type(node, "a version", problems);
                return None;
            }
        };
        let valid = text.starts_with(|c: char| c.is_ascii_digit())
            && text.len() <= 64
            && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c));
        if !valid {
            let message = format!("`{text}` is not a version");
            problems.add_help(node.place, message, "write the number alone, such as 1.20 or 2.4.1");
            return None;
        }
        Some(Self(text.to_owned()))
    }
}

impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number"] })
    }
}

impl Decode for Sql {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => InlineSql::decode(node, problems).map(Self::Inline),
            Value::Text(_) => String::decode(node, problems).map(Self::File),
            _ => {
                wrong_type(node, "the name of an SQL file, or `{sql: \"...\"}`", problems);
                None
            }
        }
    }
}

impl Decode for Audit {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => AuditDevice::decode(node, problems).map(Self::Device),
            _ => Switch::decode(node, problems).map(Self::Switch),
        }
    }
}

impl Decode for Rotation {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => RotationEvery::decode(node, problems).map(Self::Every),
            _ => Switch::decode(node, problems).map(Self::Switch),
        }
    }
}

/// Declares types that are in the schema what they hold.
macro_rules! transparent {
    ($($outer:ident),*) => {$(
        impl<T: JsonSchema> JsonSchema for $outer<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    )*};
}

transparent!(At, Needed);
