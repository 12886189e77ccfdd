//! Settings of the whole mount, at `config`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::max_versions_field;
use crate::duration;
use crate::logical::{Error, Fields};

/// What applies to keys that don't say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Versions to keep; 0 is the default of 10.
    pub max_versions: u32,
    /// Whether writes to any key must name the version they replace.
    pub cas_required: bool,
    /// Life of versions in seconds; 0 is unlimited, negative switches it off for all keys.
    delete_version_after: i64,
}

impl Settings {
    /// Takes over what a request sends; returns whether it sent anything.
    pub fn update(&mut self, fields: Fields<'_>) -> Result<bool, Error> {
        let (max, cas) = (max_versions_field(fields)?, fields.bool("cas_required")?);
        let after = signed_seconds(fields)?;
        if let Some(max) = max {
            self.max_versions = max;
        }
        if let Some(cas) = cas {
            self.cas_required = cas;
        }
        if let Some(seconds) = after {
            self.set_delete_version_after(seconds);
        }
        Ok(max.is_some() || cas.is_some() || after.is_some())
    }

    /// Sets the life of versions; any negative number switches it off.
    pub fn set_delete_version_after(&mut self, seconds: i64) {
        self.delete_version_after = seconds.max(-1);
    }

    /// Life of versions, zero for unlimited; none where it is switched off for all keys.
    pub fn delete_version_after(&self) -> Option<Duration> {
        u64::try_from(self.delete_version_after).ok().map(Duration::from_secs)
    }

    /// What a read answers.
    pub fn describe(&self) -> Value {
        let after = self.delete_version_after().map_or_else(|| "-1s".to_owned(), duration::format);
        json!({
            "cas_required": self.cas_required,
            "delete_version_after": after,
            "max_versions": self.max_versions,
        })
    }
}

/// `delete_version_after` in seconds; unlike other durations it may be negative.
fn signed_seconds(fields: Fields<'_>) -> Result<Option<i64>, Error> {
    let negative = match fields.value("delete_version_after") {
        Some(Value::String(text)) => text.strip_prefix('-').map(duration::parse),
        Some(Value::Number(number)) => number.to_string().strip_prefix('-').map(duration::parse),
        _ => None,
    };
    if let Some(Ok(magnitude)) = negative {
        return Ok(Some(-(magnitude.as_secs() as i64)));
    }
    let after = fields.duration("delete_version_after")?;
    Ok(after.map(|after| after.as_secs() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(settings: &mut Settings, body: &Value) -> Result<bool, Error> {
        settings.update(Fields::new(body.as_object().unwrap()))
    }

    #[test]
    fn settings_are_taken_one_by_one() {
        let mut settings = Settings::default();
        assert_eq!(
            settings.describe(),
            json!({"cas_required": false, "delete_version_after": "0s", "max_versions": 0})
        );
        assert!(!update(&mut settings, &json!({})).unwrap());
        assert!(update(&mut settings, &json!({"max_versions": 3, "delete_version_after": "1h30m"})).unwrap());
        assert!(update(&mut settings, &json!({"cas_required": true})).unwrap());
        assert_eq!(
            settings.describe(),
            json!({"cas_required": true, "delete_version_after": "1h30m0s", "max_versions": 3})
        );
    }

    #[test]
    fn a_negative_life_switches_it_off() {
        for off in [json!("-1s"), json!(-5), json!("-3h")] {
            let mut settings = Settings::default();
            update(&mut settings, &json!({"delete_version_after": off})).unwrap();
            assert_eq!(settings.delete_version_after(), None);
            assert_eq!(settings.describe()["delete_version_after"], "-1s");
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for body in [
            json!({"max_versions": -1}),
            json!({"max_versions": "many"}),
            json!({"delete_version_after": "soon"}),
            json!({"delete_version_after": "-soon"}),
        ] {
            assert_eq!(update(&mut Settings::default(), &body).unwrap_err().status(), 400, "{body}");
        }
    }
}
