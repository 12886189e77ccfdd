//! What a path takes, for `vault path-help` and as OpenAPI: written from the tables of endpoints.

use serde_json::{Value, json};

use crate::core::router::matches;
use crate::framework::{Pattern, Row};
use crate::logical::{Error, Object, Operation, Response, SpecialPaths};

/// One mount's endpoints.
pub struct Mount<'a> {
    /// Type, such as `database`.
    pub kind: &'a str,
    /// Its endpoints, in the order they are tried.
    pub rows: &'a [Row],
    /// Which of them need sudo or no token.
    pub special: &'a SpecialPaths,
}

/// HTTP methods as OpenAPI has them; a list is a `get` with a parameter.
const METHODS: [(Operation, &str, &str); 5] = [
    (Operation::Read, "get", "GET"),
    (Operation::List, "get", "LIST"),
    (Operation::Update, "post", "POST"),
    (Operation::Patch, "patch", "PATCH"),
    (Operation::Delete, "delete", "DELETE"),
];

impl Mount<'_> {
    /// The answer to a request for help: a text and a document, for the whole mount where `path` is
    /// empty.
    ///
    /// # Errors
    /// [`Error::UnsupportedPath`] where there is nothing at `path`.
    pub fn answer(&self, path: &str) -> Result<Response, Error> {
        let rows: Vec<&Row> = match path {
            "" => self.rows.iter().collect(),
            path => {
                let row = self.rows.iter().find(|row| Pattern::new(row.pattern).matches(path).is_some());
                vec![row.ok_or(Error::UnsupportedPath)?]
            }
        };
        let text = match rows[..] {
            [row] if !path.is_empty() => self.text_of(row, path),
            _ => self.text(),
        };
        let paths = rows.iter().map(|row| self.described(row, "/")).collect();
        let body = json!({ "help": text, "see_also": null, "openapi": document(&paths) });
        Ok(Response::raw("application/json", body.to_string()))
    }

    fn text(&self) -> String {
        let mut text = format!(
            "## DESCRIPTION\n\nThis is a mount of the type {}.\n\n## PATHS\n\nThe following paths are supported \
             by this backend. To view help for\nany of the paths below, use the help command with any route \
             matching\nthe path pattern. Note that depending on the policy of your auth token,\nyou may or may \
             not be able to access certain paths.\n",
            self.kind
        );
        let mut rows: Vec<(String, String)> =
            self.rows.iter().map(|row| (route(row.pattern), self.synopsis(row))).collect();
        rows.sort();
        for (route, synopsis) in rows {
            text += &format!("\n    {route}\n        {synopsis}\n");
        }
        text
    }

    fn text_of(&self, row: &Row, path: &str) -> String {
        let mut text = format!(
            "Request:        {path}\nMatching Route: {}\n\n{}\n",
            route(row.pattern),
            self.synopsis(row)
        );
        let mut names: Vec<&str> = Pattern::new(row.pattern).fields().collect();
        let known = row.parameters.as_deref().unwrap_or_default();
        names.extend(known.iter().filter(|name| !Pattern::new(row.pattern).fields().any(|f| f == **name)));
        names.sort_unstable();
        if !names.is_empty() {
            text += "\n## PARAMETERS\n";
            for name in names {
                text += &format!("\n    {name}\n");
            }
        }
        if row.parameters.is_none() {
            text += "\nAny further parameter is taken.\n";
        }
        text
    }

    /// What it answers, and to whom.
    fn synopsis(&self, row: &Row) -> String {
        let methods: Vec<&str> =
            METHODS.iter().filter(|(o, ..)| has(row, *o)).map(|(.., name)| *name).collect();
        let path = row.pattern.trim_end_matches("/?");
        let needs = |paths: &[&str]| paths.iter().any(|pattern| matches(pattern, path));
        let whom = match (needs(self.special.unauthenticated), needs(self.special.root)) {
            (true, _) => ", without a token",
            (_, true) => ", with the sudo capability",
            _ => "",
        };
        format!("Answers {}{whom}.", methods.join(", "))
    }

    /// A row's paths of an OpenAPI document, below `prefix`.
    pub fn described(&self, row: &Row, prefix: &str) -> (String, Value) {
        let pattern = row.pattern.trim_end_matches("/?");
        let path = format!("{prefix}{}", pattern.replace("*}", "}").replace("+}", "}"));
        let in_path = |name: &str| parameter(name, "path", &json!({ "type": "string" }));
        let of_mount = prefix.split(['{', '}']).skip(1).step_by(2).map(in_path);
        let fields: Vec<Value> = of_mount.chain(Pattern::new(row.pattern).fields().map(in_path)).collect();
        let mut item = Object::from_iter([("description".to_owned(), json!(self.synopsis(row)))]);
        if !fields.is_empty() {
            item.insert("parameters".to_owned(), fields.into());
        }
        let needs = |paths: &[&str]| paths.iter().any(|special| matches(special, pattern));
        if needs(self.special.root) {
            item.insert("x-vault-sudo".to_owned(), json!(true));
        }
        if needs(self.special.unauthenticated) {
            item.insert("x-vault-unauthenticated".to_owned(), json!(true));
        }
        for (operation, method, name) in METHODS {
            // What can be read too has one entry for both.
            if has(row, operation) && !item.contains_key(method) {
                item.insert(method.to_owned(), self.operation(row, operation, name, &path));
            }
        }
        (path, Value::Object(item))
    }

    fn operation(&self, row: &Row, operation: Operation, method: &str, path: &str) -> Value {
        let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let id = std::iter::once(method.to_lowercase())
            .chain(words.map(str::to_owned))
            .collect::<Vec<_>>()
            .join("-");
        let status = if operation == Operation::Delete { "204" } else { "200" };
        let mut shown = Object::from_iter([
            ("operationId".to_owned(), json!(id)),
            ("tags".to_owned(), json!([self.kind])),
            ("responses".to_owned(), json!({ status: { "description": "OK" } })),
        ]);
        let query = |name: &&str| parameter(name, "query", &json!({}));
        let known = row.parameters.as_deref().unwrap_or_default();
        match operation {
            Operation::Read | Operation::List => {
                let mut parameters: Vec<Value> = Vec::new();
                if operation == Operation::List {
                    let schema = json!({ "type": "string", "enum": ["true"] });
                    let mut list = parameter("list", "query", &schema);
                    list["required"] = json!(true);
                    parameters.push(list);
                } else if has(row, Operation::List) {
                    parameters.push(parameter("list", "query", &json!({ "type": "string" })));
                }
                // A path that is written to takes them in the body.
                if !has(row, Operation::Update) {
                    parameters.extend(known.iter().map(query));
                }
                if !parameters.is_empty() {
                    shown.insert("parameters".to_owned(), parameters.into());
                }
            }
            Operation::Delete => {}
            _ => {
                let properties: Object = known.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
                let kind = if operation == Operation::Patch {
                    "application/merge-patch+json"
                } else {
                    "application/json"
                };
                let schema = json!({ "type": "object", "properties": properties });
                shown.insert("requestBody".to_owned(), json!({ "content": { kind: { "schema": schema } } }));
            }
        }
        Value::Object(shown)
    }
}

fn parameter(name: &str, place: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": place, "required": place == "path", "schema": schema })
}

fn has(row: &Row, operation: Operation) -> bool {
    row.operations.contains(&operation)
        || operation == Operation::Update && row.operations.contains(&Operation::Create)
}

/// An OpenAPI document of these paths.
pub fn document(paths: &Object) -> Value {
    json!({
        "openapi": "3.0.2",
        "info": {
            "title": "HashiCorp Vault API",
            "description": "What this server supports of Vault's API. All paths are below `/v1/`.",
            "version": crate::VERSION,
        },
        "paths": paths,
        "components": { "schemas": {} },
    })
}

/// A pattern as Vault shows it: a regular expression.
fn route(pattern: &str) -> String {
    let (body, slash) = match pattern.strip_suffix("/?") {
        Some(body) => (body, "/?"),
        None => (pattern, ""),
    };
    let segments = body.split('/').map(|segment| {
        let Some(field) = segment.strip_prefix('{').and_then(|field| field.strip_suffix('}')) else {
            return segment.to_owned();
        };
        match (field.strip_suffix('*'), field.strip_suffix('+')) {
            (Some(field), _) => format!("(?P<{field}>.*)"),
            (_, Some(field)) => format!("(?P<{field}>[^/]+)"),
            _ => format!(r"(?P<{field}>\w(([\w-.]+)?\w)?)"),
        }
    });
    format!("^{}{slash}$", segments.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        vec![
            Row { pattern: "roles/?", operations: vec![Operation::List], parameters: Some(vec![]) },
            Row {
                pattern: "roles/{name}",
                operations: vec![Operation::Create, Operation::Update, Operation::Read, Operation::Delete],
                parameters: Some(vec!["ttl", "max_ttl", "name"]),
            },
        ]
    }

    fn body(path: &str) -> Value {
        let special = SpecialPaths { root: &["roles/*"], unauthenticated: &[] };
        let mount = Mount { kind: "database", rows: &rows(), special: &special };
        serde_json::from_slice(&mount.answer(path).unwrap().raw.unwrap().body).unwrap()
    }

    #[test]
    fn a_path_tells_what_it_takes() {
        let body = body("roles/web");
        assert_eq!(
            body["help"],
            "Request:        roles/web\nMatching Route: ^roles/(?P<name>\\w(([\\w-.]+)?\\w)?)$\n\nAnswers GET, POST, \
             DELETE, with the sudo capability.\n\n## PARAMETERS\n\n    max_ttl\n\n    name\n\n    ttl\n"
        );
        let path = &body["openapi"]["paths"]["/roles/{name}"];
        assert_eq!(path["parameters"][0]["name"], "name");
        assert_eq!(path["x-vault-sudo"], true);
        let properties = &path["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"];
        assert_eq!(properties, &json!({"ttl": {}, "max_ttl": {}, "name": {}}));
        assert_eq!(path["delete"]["responses"], json!({"204": {"description": "OK"}}));
    }

    #[test]
    fn a_mount_tells_its_paths_and_a_path_that_is_not_there_is_none() {
        let body = body("");
        assert!(body["help"].as_str().unwrap().contains("\n    ^roles/?$\n        Answers LIST.\n"));
        let list = &body["openapi"]["paths"]["/roles"]["get"]["parameters"][0];
        assert_eq!((&list["name"], &list["required"]), (&json!("list"), &json!(true)));
        let special = SpecialPaths::default();
        let mount = Mount { kind: "database", rows: &rows(), special: &special };
        assert_eq!(mount.answer("nope").unwrap_err().status(), 404);
    }
}
