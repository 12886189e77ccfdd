//! User names of dynamic credentials, made from Go templates.
//!
//! This is the only module that uses the template crate, with [`bounds`]. The functions are those Vault offers to a
//! `username_template`: `random`, `truncate`, `truncate_sha256`, `uppercase`, `lowercase`, `replace`, `sha256`,
//! `base64`, `decode_base64`, `hex`, `decode_hex`, `unix_time`, `unix_time_millis`, `timestamp`, `uuid`, `glob`,
//! and Go's own (`printf`, `len` …); the data are `.DisplayName` and `.RoleName`.

mod bounds;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotmpl::parse::Node;
use gotmpl::{FuncMap, MissingKey, Template, TemplateError, Value};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::PluginError;
use crate::random;

/// PostgreSQL's default: names are cut at 63 bytes, the longest identifier it keeps.
pub const POSTGRESQL_TEMPLATE: &str = r#"{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time) | truncate 63 }}"#;
/// MySQL's default: names are cut at 32 characters, the longest MySQL takes.
pub const MYSQL_TEMPLATE: &str = r#"{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 10) (.RoleName | truncate 10) (random 20) (unix_time) | truncate 32 }}"#;
/// Default of `mysql-legacy-database-plugin`, for servers that take 16 characters.
pub const MYSQL_LEGACY_TEMPLATE: &str =
    r#"{{ printf "v-%s-%s-%s" (.RoleName | truncate 4) (random 20) | truncate 16 }}"#;

/// A longer `random` in a user name is a mistake, and would only cost memory.
const MAX_RANDOM: i64 = 4096;
/// Bytes of a name; no database takes one as long.
const MAX_NAME: usize = 64 * 1024;

/// A parsed and tried template.
pub struct UsernameTemplate(Template);

impl UsernameTemplate {
    /// Parses `source` and tries it once with empty names.
    ///
    /// # Errors
    /// `PluginError::Username` with Vault's wording: `unable to initialize username template: …` when it does not
    /// parse, `invalid username template: …` when it fails.
    pub fn parse(source: &str) -> Result<Self, PluginError> {
        let unparsable = |e: &TemplateError| {
            let line = match e {
                TemplateError::Lex { line, .. } | TemplateError::Parse { line, .. } => format!(":{line}"),
                // Where there is but one line, it is that one.
                _ if !source.contains('\n') => ":1".to_owned(),
                _ => String::new(),
            };
            PluginError::Username(format!(
                "unable to initialize username template: unable to parse template: template: template{line}: {}",
                words(e)
            ))
        };
        let template = || {
            let template = Template::new("template").max_range_iters(bounds::MAX_ROUNDS);
            template.missing_key(MissingKey::Error).funcs(functions())
        };
        let parsed = Self(template().parse(source).map_err(|e| unparsable(&e))?);
        // The library would leave out what follows an end of nothing.
        let marked = template().parse(&format!("{source}\0")).map_err(|e| unparsable(&e))?;
        let last = marked.lookup("template").and_then(|list| list.nodes.last());
        if !matches!(last, Some(Node::Text(text)) if text.text.ends_with('\0')) {
            return Err(unparsable(&TemplateError::Exec("unexpected {{end}} or {{else}}".to_owned())));
        }
        let applied = if bounds::ends_soon(&parsed.0) {
            parsed.execute("", "")
        } else {
            Err(TemplateError::RecursionLimit)
        };
        match applied {
            Ok(_) => Ok(parsed),
            // Go looks functions and variables up when it parses.
            Err(e @ (TemplateError::UndefinedFunction(_) | TemplateError::UndefinedVariable(_))) => {
                Err(unparsable(&e))
            }
            Err(e) => Err(PluginError::Username(format!("invalid username template: {}", inapplicable(&e)))),
        }
    }

    /// Makes a name for a token's display name and a role.
    ///
    /// # Errors
    /// `PluginError::Username` when a function of the template refuses its arguments.
    pub fn generate(&self, display_name: &str, role: &str) -> Result<String, PluginError> {
        self.execute(display_name, role).map_err(|e| PluginError::Username(inapplicable(&e)))
    }

    fn execute(&self, display_name: &str, role: &str) -> Result<String, TemplateError> {
        let data = BTreeMap::from([
            (Arc::from("DisplayName"), text(display_name)),
            (Arc::from("RoleName"), text(role)),
        ]);
        let mut name = Name(String::new());
        bounds::begin();
        self.0.execute_fmt(&mut name, &Value::Map(Arc::new(data)))?;
        Ok(name.0)
    }
}

/// What a template writes, up to [`MAX_NAME`].
struct Name(String);

impl std::fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.0.len() + text.len() > MAX_NAME {
            return Err(std::fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

fn inapplicable(error: &TemplateError) -> String {
    format!("unable to apply template: template: template: executing \"template\": {}", words(error))
}

/// Go's words for an error, without the place, which the library does not tell.
fn words(error: &TemplateError) -> String {
    match error {
        TemplateError::Lex { message, .. } | TemplateError::Parse { message, .. } => message.clone(),
        TemplateError::Exec(text) => text.clone(),
        TemplateError::MissingKey { key } => {
            format!("can't evaluate field {key} in type dbplugin.UsernameMetadata")
        }
        TemplateError::UndefinedTemplate(name) => format!("template {name:?} not defined"),
        TemplateError::UndefinedFunction(name) => format!("function {name:?} not defined"),
        TemplateError::UndefinedVariable(name) => format!("undefined variable {name:?}"),
        TemplateError::RecursionLimit => "exceeded maximum template depth".to_owned(),
        other => other.to_string(),
    }
}

type Call = fn(&[Value]) -> Result<Value, String>;

fn functions() -> FuncMap {
    let table: [(&str, usize, Call); 16] = [
        ("random", 1, |a| random_text(number(a, 0)?)),
        ("truncate", 2, |a| truncate(number(a, 0)?, &string(a, 1)?)),
        ("truncate_sha256", 2, |a| truncate_sha256(number(a, 0)?, &string(a, 1)?)),
        ("uppercase", 1, |a| Ok(text(&string(a, 0)?.to_uppercase()))),
        ("lowercase", 1, |a| Ok(text(&string(a, 0)?.to_lowercase()))),
        ("replace", 3, |a| replace(&string(a, 0)?, &string(a, 1)?, &string(a, 2)?)),
        ("sha256", 1, |a| Ok(text(&hex(&Sha256::digest(string(a, 0)?))))),
        ("base64", 1, |a| Ok(text(&STANDARD.encode(string(a, 0)?)))),
        ("decode_base64", 1, |a| {
            let bytes = STANDARD.decode(string(a, 0)?).map_err(|e| e.to_string())?;
            utf8(bytes)
        }),
        ("hex", 1, |a| Ok(text(&hex(string(a, 0)?.as_bytes())))),
        ("decode_hex", 1, |a| utf8(unhex(&string(a, 0)?)?)),
        ("unix_time", 0, |_| Ok(text(&Timestamp::now().as_second().to_string()))),
        ("unix_time_millis", 0, |_| Ok(text(&Timestamp::now().as_millisecond().to_string()))),
        ("timestamp", 1, |a| Ok(text(&go_format(Timestamp::now(), &string(a, 0)?)))),
        ("uuid", 0, |_| Ok(text(&random::uuid()))),
        ("glob", 2, |a| Ok(Value::Bool(super::glob::matches(&string(a, 0)?, &string(a, 1)?)))),
    ];
    let own = table.into_iter().map(|(name, wanted, call)| {
        let function = move |args: &[Value]| {
            if args.len() != wanted {
                let got = args.len();
                let text = format!("wrong number of args for {name}: want {wanted} got {got}");
                return Err(TemplateError::Exec(text));
            }
            // None of them makes more than three bytes of one, but for those that count by themselves.
            let given: usize = args.iter().filter_map(Value::as_str).map(str::len).sum();
            bounds::spend(given.saturating_mul(3))
                .and_then(|()| call(args))
                .map_err(|e| TemplateError::Exec(format!("error calling {name}: {e}")))
        };
        (name.to_owned(), Arc::new(function) as gotmpl::ValueFunc)
    });
    own.chain(bounds::printing()).collect()
}

fn text(value: &str) -> Value {
    Value::String(Arc::from(value))
}

fn utf8(bytes: Vec<u8>) -> Result<Value, String> {
    String::from_utf8(bytes).map(|s| text(&s)).map_err(|_| "the decoded value is not text".to_owned())
}

fn string(args: &[Value], index: usize) -> Result<String, String> {
    let value = args.get(index).ok_or("not enough arguments")?;
    value.as_str().map(str::to_owned).ok_or_else(|| format!("expected string; got {}", value.type_name()))
}

fn number(args: &[Value], index: usize) -> Result<i64, String> {
    let value = args.get(index).ok_or("not enough arguments")?;
    value.as_int().ok_or_else(|| format!("expected integer; got {}", value.type_name()))
}

fn random_text(length: i64) -> Result<Value, String> {
    match length {
        0..=MAX_RANDOM => Ok(text(&random::base62(length as usize))),
        _ => Err(format!("length must be between 0 and {MAX_RANDOM} but was {length}")),
    }
}

fn replace(from: &str, to: &str, value: &str) -> Result<Value, String> {
    bounds::spend((value.len() + 1).saturating_mul(to.len()))?;
    Ok(text(&value.replace(from, to)))
}

/// Cuts at `length` bytes, or before the character that would be cut in two.
fn cut(value: &str, length: usize) -> &str {
    &value[..value.floor_char_boundary(length)]
}

fn truncate(length: i64, value: &str) -> Result<Value, String> {
    match usize::try_from(length) {
        Ok(length) if length > 0 => Ok(text(cut(value, length))),
        _ => Err(format!("max length must be > 0 but was {length}")),
    }
}

/// What is cut off is replaced by the first eight hex digits of its SHA-256.
fn truncate_sha256(length: i64, value: &str) -> Result<Value, String> {
    match usize::try_from(length) {
        Ok(length) if length > 8 => {
            if value.len() <= length {
                return Ok(text(value));
            }
            let kept = cut(value, length - 8);
            let hash = hex(&Sha256::digest(&value[kept.len()..]));
            Ok(text(&format!("{kept}{}", &hash[..8])))
        }
        _ => Err(format!("max length must be > 8 but was {length}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(digits: &str) -> Result<Vec<u8>, String> {
    if !digits.len().is_multiple_of(2) {
        return Err("odd length hex string".to_owned());
    }
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or_else(|| "invalid hex digit".to_owned())
        })
        .collect()
}

/// Elements of Go's time layouts and their `strftime` counterparts; longer ones first, as Go matches them.
const LAYOUT: [(&str, &str); 27] = [
    ("January", "%B"),
    ("Monday", "%A"),
    ("2006", "%Y"),
    ("Z07:00", "Z"),
    ("-07:00", "%:z"),
    ("Z0700", "Z"),
    ("-0700", "%z"),
    (".000000000", "%.9f"),
    (".000000", "%.6f"),
    (".000", "%.3f"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("4", "%-M"),
    ("5", "%-S"),
];

/// Formats `time` in UTC after a layout of Go's `time` package, such as `2006-01-02T15:04:05Z07:00`.
pub fn go_format(time: Timestamp, layout: &str) -> String {
    let mut format = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        if let Some((element, strftime)) = LAYOUT.iter().find(|(e, _)| rest.starts_with(e)) {
            format.push_str(strftime);
            rest = &rest[element.len()..];
        } else {
            if first == '%' {
                format.push('%');
            }
            format.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime(&format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn make(template: &str, display: &str, role: &str) -> String {
        UsernameTemplate::parse(template).unwrap().generate(display, role).unwrap()
    }

    #[test]
    fn postgresql_default_has_vaults_form() {
        let name = make(POSTGRESQL_TEMPLATE, "approle-long", "notes-readonly");
        let parts: Vec<_> = name.split('-').collect();
        assert!(name.starts_with("v-approle--notes-re-"), "{name}");
        assert_eq!(parts[parts.len() - 2].len(), 20);
        assert!(parts[parts.len() - 1].parse::<i64>().unwrap() > 1_700_000_000);
        assert!(name.len() <= 63);
    }

    #[test]
    fn mysql_default_is_cut_at_32() {
        let name = make(MYSQL_TEMPLATE, "approle", "readonly");
        assert!(name.starts_with("v-approle-readonly-"), "{name}");
        assert_eq!(name.len(), 32);
        assert_eq!(make(MYSQL_LEGACY_TEMPLATE, "approle", "readonly").len(), 16);
        assert!(make(MYSQL_LEGACY_TEMPLATE, "x", "readonly").starts_with("v-read-"));
    }

    #[test]
    fn functions_and_pipes() {
        let cases = [
            ("{{.DisplayName | uppercase}}", "TOKEN"),
            ("{{.RoleName | lowercase | truncate 3}}", "rol"),
            ("{{.DisplayName | replace \"k\" \"_\"}}", "to_en"),
            ("{{.DisplayName | base64}}", "dG9rZW4="),
            ("{{.DisplayName | base64 | decode_base64}}", "token"),
            ("{{.DisplayName | hex}}", "746f6b656e"),
            ("{{.DisplayName | hex | decode_hex}}", "token"),
            ("{{sha256 .DisplayName | truncate 8}}", "3c469e9d"),
            ("{{if glob \"Ro*\" .RoleName}}yes{{else}}no{{end}}", "yes"),
            ("{{printf \"%s.%s\" .DisplayName .RoleName}}", "token.Role"),
            ("{{\"short\" | truncate_sha256 12}}", "short"),
            (
                "{{define \"n\"}}{{.RoleName | truncate 2}}{{end}}{{template \"n\" .}}-{{block \"b\" .}}{{.DisplayName}}{{end}}",
                "Ro-token",
            ),
            (
                "{{$n := printf \"%s-%03d\" .RoleName 7}}{{$n | lowercase}}{{if false}}{{.Nope}}{{end}}",
                "role-007",
            ),
            ("{{html \"<\"}}{{print 1 2}}", "&lt;1 2"),
            // SHA-256 of "456789abcdef" starts with d48c9adc.
            ("{{\"0123456789abcdef\" | truncate_sha256 12}}", "0123d48c9adc"),
        ];
        for (template, expected) in cases {
            assert_eq!(make(template, "token", "Role"), expected, "{template}");
        }
    }

    #[test]
    fn random_parts_differ_and_have_their_length() {
        let (a, b) = (make("{{random 30}}", "", ""), make("{{random 30}}", "", ""));
        assert_eq!(a.len(), 30);
        assert_ne!(a, b);
        assert!(a.bytes().all(|c| c.is_ascii_alphanumeric()));
        assert_eq!(make("{{uuid}}", "", "").len(), 36);
        assert!(make("{{unix_time_millis}}", "", "").parse::<i64>().unwrap() > 1_700_000_000_000);
    }

    #[test]
    fn mistakes_are_named() {
        let fault = |t: &str| UsernameTemplate::parse(t).err().unwrap().to_string();
        assert!(fault("{{.DisplayName").starts_with("unable to initialize username template:"));
        assert!(fault("{{nosuch 1}}").contains("nosuch"));
        assert!(fault("{{truncate 0 \"x\"}}").contains("max length must be > 0 but was 0"));
        assert!(fault("{{random \"x\"}}").contains("expected integer"));
        assert!(fault("{{random 100000}}").contains("length must be between"));
        let applied = |cause: &str| {
            format!(
                "invalid username template: unable to apply template: template: template: executing \"template\": {cause}"
            )
        };
        let field = "can't evaluate field Nope in type dbplugin.UsernameMetadata";
        for (source, cause) in [
            ("{{.Nope}}", field),
            ("{{with .Nope}}{{end}}", field),
            ("{{define \"a\"}}{{.Nope}}{{end}}{{template \"a\" .}}", field),
            ("{{template \"nope\"}}", "template \"nope\" not defined"),
            ("{{truncate 3}}", "wrong number of args for truncate: want 2 got 1"),
            ("{{truncate 0 \"x\"}}", "error calling truncate: max length must be > 0 but was 0"),
        ] {
            assert_eq!(fault(source), applied(cause), "{source}");
        }
        let parsed =
            "unable to initialize username template: unable to parse template: template: template:1: ";
        for (source, cause) in [
            ("{{.DisplayName", "unclosed action"),
            ("{{nosuch 1}}", "function \"nosuch\" not defined"),
            ("{{$x}}", "undefined variable \"$x\""),
            ("a{{end}}b", "unexpected {{end}} or {{else}}"),
        ] {
            assert_eq!(fault(source), format!("{parsed}{cause}"), "{source}");
        }
    }

    #[test]
    fn go_layouts() {
        let time: Timestamp = "2026-03-04T17:08:09.123456789Z".parse().unwrap();
        let cases = [
            ("2006-01-02T15:04:05Z07:00", "2026-03-04T17:08:09Z"),
            ("20060102150405", "20260304170809"),
            ("2006-01-02 15:04:05-0700", "2026-03-04 17:08:09+0000"),
            ("Mon Jan _2 03:04PM", "Wed Mar  4 05:08PM"),
            ("15:04:05.000 at 99%", "17:08:09.123 at 99%"),
        ];
        for (layout, expected) in cases {
            assert_eq!(go_format(time, layout), expected, "{layout}");
        }
    }

    proptest! {
        #[test]
        fn default_names_keep_their_limits(display in ".{0,40}", role in "[a-zA-Z0-9_.-]{0,60}") {
            prop_assert!(make(POSTGRESQL_TEMPLATE, &display, &role).len() <= 63);
            prop_assert!(make(MYSQL_TEMPLATE, &display, &role).len() <= 32);
        }

        #[test]
        fn layouts_never_panic(layout in ".{0,60}") {
            let _ = go_format(Timestamp::UNIX_EPOCH, &layout);
        }

        #[test]
        fn templates_never_panic(source in "[{} .|a-zA-Z0-9\"()-]{0,60}") {
            let _ = UsernameTemplate::parse(&source);
        }
    }

    #[test]
    fn templates_that_would_not_end_are_refused() {
        let doubling: String = (0..60)
            .map(|at| {
                format!(
                    "{{{{define \"t{at}\"}}}}{{{{template \"t{0}\"}}}}{{{{template \"t{0}\"}}}}{{{{end}}}}",
                    at + 1
                )
            })
            .collect();
        for source in [
            "{{range 9999999}}{{random 4096}}{{end}}".to_owned(),
            format!("{{{{range 900}}}}{}{{{{end}}}}", "x".repeat(1000)),
            format!("{doubling}{{{{define \"t60\"}}}}{{{{end}}}}{{{{template \"t0\"}}}}"),
            "{{template \"template\"}}{{template \"template\"}}".to_owned(),
            "{{define \"r\"}}{{template \"r\"}}{{end}}{{template \"r\"}}".to_owned(),
            "{{$a := \"xx\"}}{{range 900}}{{$a = printf \"%s%s\" $a $a}}{{end}}".to_owned(),
            "{{$a := \"xx\"}}{{range 900}}{{$a = printf \"%[1]s%[1]s\" $a}}{{end}}".to_owned(),
            "{{$a := \"xx\"}}{{range 900}}{{$a = print $a $a}}{{end}}".to_owned(),
            "{{$a := \"xx\"}}{{range 900}}{{$a = replace \"x\" \"xx\" $a}}{{end}}".to_owned(),
            "{{$a := \"<<\"}}{{range 900}}{{$a = html $a}}{{end}}".to_owned(),
            "{{$a := \"xx\"}}{{range 900}}{{$a = hex $a}}{{end}}".to_owned(),
            "{{range 900}}{{$a := printf \"%60000d\" 1}}{{end}}".to_owned(),
            "{{block \"a\" .}}{{template \"a\" .}}{{template \"a\" .}}{{end}}".to_owned(),
            format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
            "{{if true}}".repeat(100_000),
        ] {
            let short: String = source.chars().take(60).collect();
            assert!(UsernameTemplate::parse(&source).is_err(), "{short}");
        }
    }
}
