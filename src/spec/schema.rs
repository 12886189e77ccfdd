//! The JSON schema of the lab file and its reference in Markdown, both out of the declarations in
//! [`super::wire`].

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::wire::LabFile;

/// The JSON schema of the lab file (draft 2020-12).
pub fn json_schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<LabFile>();
    schema.insert("title".to_owned(), "vaultlab lab file".into());
    schema.to_value()
}

/// The reference of the lab file as Markdown.
pub fn reference() -> String {
    let schema = json_schema();
    let mut out = String::from(
        "# The lab file\n\n\
         <!-- Generated from src/spec/wire.rs; a test fails when they differ. -->\n\n",
    );
    let _ = writeln!(out, "{}\n", text_of(&schema));
    out.push_str(
        "A lab file is YAML 1.2 in UTF-8. `vaultlab up` takes the one given with `-f`, else \
         `vaultlab.yaml`, else `lab/vaultlab.yaml`, else the lab that is part of the program, which \
         `vaultlab init` writes out. All problems of a file are reported at once. Durations are \
         Vault's: `90s`, `15m`, `1h30m`, `2d`, or a number of seconds. The schema for editors is \
         `lab/lab.schema.json`.\n",
    );
    section(&mut out, "Top level", &schema);
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
    for (key, name) in SECTIONS {
        if let Some(definition) = definitions.get(*name) {
            section(&mut out, key, definition);
        }
    }
    out
}

/// Where each mapping is written, in the order of the reference.
const SECTIONS: &[(&str, &str)] = &[
    ("`vault`", "Vault"),
    ("`vault.audit`", "AuditDevice"),
    ("`vault.key_store`", "AgeRecipients"),
    ("`databases[]`", "Database"),
    ("`databases[].root_rotation`", "RotationEvery"),
    ("`roles[]`", "Role"),
    ("`static_roles[]`", "StaticRole"),
    ("`roles[].proof` and `static_roles[].proof`", "Proof"),
    ("`policies[]`", "Policy"),
    ("`approles[]`", "AppRole"),
    ("`approles[].deliver`", "Deliver"),
    ("SQL written in place", "InlineSql"),
];

fn section(out: &mut String, title: &str, schema: &Value) {
    let _ = writeln!(out, "\n## {title}\n");
    if title != "Top level" {
        let _ = writeln!(out, "{}\n", text_of(schema));
    }
    out.push_str("| key | type | |\n|---|---|---|\n");
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|keys| keys.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    for (key, property) in properties {
        let mark = if required.contains(&key.as_str()) { " (required)" } else { "" };
        let text = text_of(property).replace('|', "\\|");
        let _ = writeln!(out, "| `{key}`{mark} | {} | {text} |", kind(property));
    }
}

fn text_of(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A type in words.
fn kind(schema: &Value) -> String {
    let of_types = |types: &[Value]| {
        let mut names: Vec<&str> = types
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .map(|name| match name {
                "string" => "text",
                "integer" => "whole number",
                "array" => "list",
                "object" => "mapping",
                other => other,
            })
            .collect();
        names.dedup();
        names.join(" or ")
    };
    if let Some(items) = schema.get("items") {
        return format!("list of {}", kind(items));
    }
    if schema.get("enum").is_some() || schema.get("const").is_some() {
        return "word".to_owned();
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return match name {
            "Sql" => "file or `{sql: ...}`".to_owned(),
            "KeyStore" => "word or `{recipients: ...}`".to_owned(),
            "Audit" => "`on`, `off` or mapping".to_owned(),
            "Rotation" => "`on`, `off` or `{every: ...}`".to_owned(),
            _ => "mapping".to_owned(),
        };
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let kinds: Vec<String> =
            any.iter().filter(|s| s.get("type") != Some(&"null".into())).map(kind).collect();
        return kinds.join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(name)) => of_types(&[Value::String(name.clone())]),
        // Text of a certain form, or a number of seconds.
        Some(Value::Array(types)) if types.contains(&"integer".into()) && schema.get("pattern").is_some() => {
            "duration".to_owned()
        }
        Some(Value::Array(types)) => of_types(types),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Compares a committed file with what it is generated from, or writes it when asked to.
    fn drift(path: &str, expected: &str) {
        let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("VAULTLAB_REGENERATE").is_some() {
            std::fs::write(&full, expected).unwrap();
        }
        let committed = std::fs::read_to_string(&full).unwrap_or_default();
        assert!(
            committed == expected,
            "{path} differs from what src/spec/wire.rs says; run \
             `VAULTLAB_REGENERATE=1 cargo test -p vaultlab --lib spec::schema` and commit it"
        );
    }

    #[test]
    fn committed_schema_is_current() {
        let text = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
        drift("lab/lab.schema.json", &text);
    }

    #[test]
    fn committed_reference_is_current() {
        drift("docs/lab-file.md", &reference());
    }

    #[test]
    fn every_mapping_and_key_is_described() {
        let schema = json_schema();
        let definitions = schema["$defs"].as_object().unwrap();
        let mappings = definitions.iter().filter(|(_, d)| d.get("properties").is_some());
        let mut names: Vec<&str> = mappings.clone().map(|(name, _)| name.as_str()).collect();
        let mut listed: Vec<&str> = SECTIONS.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        listed.sort_unstable();
        assert_eq!(names, listed, "every mapping has its section");
        for (name, definition) in mappings {
            assert_eq!(definition["additionalProperties"], false, "{name}");
            for (key, property) in definition["properties"].as_object().unwrap() {
                assert!(!text_of(property).is_empty(), "{name}.{key} has no description");
                assert!(!kind(property).is_empty(), "{name}.{key} has no type: {property}");
            }
        }
    }
}
