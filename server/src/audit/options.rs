//! The options of a file device, as `sys/audit` takes them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::AuditError;
use super::entry::Format;

/// Where a device writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    File {
        path: PathBuf,
        /// Permission bits; `None` leaves those of an existing file.
        mode: Option<u32>,
    },
    Stdout,
    /// Nowhere: entries are formatted and dropped.
    Discard,
}

/// Everything that is configured about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) target: Target,
    pub(super) format: Format,
}

impl Settings {
    /// Reads the options `file_path` (or `path`), `mode`, `format`, `prefix`, `log_raw`,
    /// `hmac_accessor` and `elide_list_responses`; others are ignored, as Vault does.
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self, AuditError> {
        let path = options
            .get("file_path")
            .or_else(|| options.get("path"))
            .filter(|path| !path.is_empty())
            .ok_or_else(|| AuditError::Options("file_path is required".to_owned()))?;
        match options.get("format").map_or("json", String::as_str) {
            "json" => {}
            "jsonx" => {
                return Err(AuditError::Options(
                    "format type \"jsonx\" is not supported by this server".to_owned(),
                ));
            }
            other => {
                return Err(AuditError::Options(format!("unknown format type {other:?}")));
            }
        }
        let target = if path.eq_ignore_ascii_case("stdout") {
            Target::Stdout
        } else if path.eq_ignore_ascii_case("discard") {
            Target::Discard
        } else {
            Target::File { path: path.into(), mode: mode(options)? }
        };
        let default = Format::default();
        Ok(Self {
            target,
            format: Format {
                log_raw: flag(options, "log_raw", default.log_raw)?,
                hmac_accessor: flag(options, "hmac_accessor", default.hmac_accessor)?,
                elide_list_responses: flag(options, "elide_list_responses", default.elide_list_responses)?,
                prefix: options.get("prefix").cloned().unwrap_or_default(),
            },
        })
    }
}

/// Octal permission bits, 0600 when not given. 0 keeps those of an existing file.
fn mode(options: &BTreeMap<String, String>) -> Result<Option<u32>, AuditError> {
    let Some(text) = options.get("mode") else {
        return Ok(Some(0o600));
    };
    match u32::from_str_radix(text, 8) {
        Ok(0) => Ok(None),
        Ok(mode) if mode <= 0o7777 => Ok(Some(mode)),
        _ => Err(AuditError::Options(format!("mode {text:?} is not an octal file mode"))),
    }
}

/// A boolean in the words Go's `strconv.ParseBool` takes.
fn flag(options: &BTreeMap<String, String>, name: &str, default: bool) -> Result<bool, AuditError> {
    match options.get(name).map(String::as_str) {
        None => Ok(default),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(AuditError::Options(format!("{name}: {other:?} is not a boolean"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Settings, String> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_vaults() {
        let settings = parse(&[("file_path", "/x/audit.log")]).unwrap();
        assert_eq!(settings.target, Target::File { path: "/x/audit.log".into(), mode: Some(0o600) });
        assert_eq!(settings.format, Format::default());
        assert!(settings.format.hmac_accessor && !settings.format.log_raw);
    }

    #[test]
    fn every_option_is_read() {
        let settings = parse(&[
            ("path", "x"),
            ("mode", "0640"),
            ("format", "json"),
            ("prefix", "@cee: "),
            ("log_raw", "true"),
            ("hmac_accessor", "f"),
            ("elide_list_responses", "1"),
            ("description", "ignored"),
        ])
        .unwrap();
        assert_eq!(
            settings,
            Settings {
                target: Target::File { path: "x".into(), mode: Some(0o640) },
                format: Format {
                    log_raw: true,
                    hmac_accessor: false,
                    elide_list_responses: true,
                    prefix: "@cee: ".to_owned(),
                },
            }
        );
        let keep = parse(&[("file_path", "x"), ("mode", "0000")]).unwrap();
        assert!(matches!(keep.target, Target::File { mode: None, .. }));
        let stdout = parse(&[("file_path", "STDOUT")]).unwrap();
        assert_eq!(stdout.target, Target::Stdout);
        let discard = parse(&[("file_path", "discard")]).unwrap();
        assert_eq!(discard.target, Target::Discard);
    }

    #[test]
    fn wrong_options_are_named() {
        for (options, text) in [
            (&[][..], "file_path is required"),
            (&[("file_path", "")], "file_path is required"),
            (&[("file_path", "x"), ("format", "xml")], "unknown format type \"xml\""),
            (
                &[("file_path", "x"), ("format", "jsonx")],
                "format type \"jsonx\" is not supported by this server",
            ),
            (&[("file_path", "x"), ("mode", "rw")], "mode \"rw\" is not an octal file mode"),
            (&[("file_path", "x"), ("mode", "17777")], "mode \"17777\" is not an octal file mode"),
            (&[("file_path", "x"), ("log_raw", "maybe")], "log_raw: \"maybe\" is not a boolean"),
        ] {
            assert_eq!(parse(options).unwrap_err(), text);
        }
    }
}
