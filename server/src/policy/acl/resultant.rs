//! All that a token may do, as `sys/internal/ui/resultant-acl` shows it.

use serde_json::{Map, Value as Json, json};

use super::Acl;
use super::permissions::Permissions;

impl Acl {
    /// `root` alone for root; else the rules by path: exact ones, and those that end in `*` (without
    /// it) or hold a `+`.
    pub fn resultant(&self) -> Map<String, Json> {
        let mut shown = Map::new();
        shown.insert("root".to_owned(), json!(self.root));
        if self.root {
            return shown;
        }
        let exact = self.exact.iter().map(|(path, permissions)| (path.to_string(), permissions.shown()));
        let prefixes =
            self.prefixes.iter().map(|(path, permissions)| (path.to_string(), permissions.shown()));
        let segments = self.segments.iter().map(|(path, permissions)| (path.text(), permissions.shown()));
        shown.insert("exact_paths".to_owned(), sorted(exact));
        shown.insert("glob_paths".to_owned(), sorted(prefixes.chain(segments)));
        shown
    }
}

fn sorted(rules: impl Iterator<Item = (String, Json)>) -> Json {
    let mut rules: Vec<(String, Json)> = rules.collect();
    rules.sort_by(|a, b| a.0.cmp(&b.0));
    Json::Object(rules.into_iter().collect())
}

impl Permissions {
    fn shown(&self) -> Json {
        let mut names = self.capabilities.names();
        // In the alphabet's order but for this one, as in Vault's answer.
        if let Some(patch) = names.iter().position(|name| *name == "patch") {
            let patch = names.remove(patch);
            names.push(patch);
        }
        let mut shown = Map::new();
        shown.insert("capabilities".to_owned(), json!(names));
        for (name, ttl) in
            [("min_wrapping_ttl", self.min_wrapping_ttl), ("max_wrapping_ttl", self.max_wrapping_ttl)]
        {
            if let Some(ttl) = ttl {
                shown.insert(name.to_owned(), json!(ttl.as_secs()));
            }
        }
        for (name, parameters) in [("allowed_parameters", &self.allowed), ("denied_parameters", &self.denied)]
        {
            if !parameters.is_empty() {
                let fields = parameters.iter().map(|(field, values)| (field.to_owned(), json!(values)));
                shown.insert(name.to_owned(), Json::Object(fields.collect()));
            }
        }
        if !self.required.is_empty() {
            shown.insert("required_parameters".to_owned(), json!(Vec::from_iter(&self.required)));
        }
        Json::Object(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    #[test]
    fn rules_are_shown_by_path() {
        assert_eq!(
            Acl { root: true, ..Acl::default() }.resultant(),
            *json!({"root": true}).as_object().unwrap()
        );
        let text = r#"
            path "kv/a" { capabilities = ["update", "patch", "read", "sudo"] min_wrapping_ttl = "1m" }
            path "kv/b/*" { capabilities = ["deny"] }
            path "kv/+/c" {
                capabilities = ["create"]
                required_parameters = ["x"]
                allowed_parameters = { "x" = ["1"], "y" = [] }
            }
        "#;
        let acl = Acl::compile([&Policy::parse("p", text).unwrap()], None);
        assert_eq!(
            Json::Object(acl.resultant()),
            json!({
                "root": false,
                "exact_paths": {
                    "kv/a": {"capabilities": ["read", "sudo", "update", "patch"], "min_wrapping_ttl": 60},
                },
                "glob_paths": {
                    "kv/+/c": {
                        "capabilities": ["create"],
                        "allowed_parameters": {"x": ["1"], "y": []},
                        "required_parameters": ["x"],
                    },
                    "kv/b/": {"capabilities": ["deny"]},
                },
            })
        );
    }
}
