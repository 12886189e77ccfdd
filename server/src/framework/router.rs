//! From a request to an endpoint of a backend: path, operation, fields.

use super::pattern::{Captures, Pattern};
use crate::logical::{Error, Fields, Operation, Request, Response};

/// One row of a backend's table of endpoints.
///
/// `E` is the backend's own small enum of endpoints, so that handling stays a plain `match`.
#[derive(Debug, Clone)]
pub struct Route<E> {
    /// Paths it covers.
    pub pattern: Pattern,
    /// Operations it supports. [`Operation::Create`] beside [`Operation::Update`] means that the
    /// backend can tell whether the thing exists.
    pub operations: &'static [Operation],
    /// Parameters it knows, besides those of the path; none for a path that takes any.
    pub parameters: Option<Vec<&'static str>>,
    /// What the backend calls it.
    pub endpoint: E,
}

/// What help and documentation say of a [`Route`].
#[derive(Debug, Clone)]
pub struct Row {
    /// Paths it covers.
    pub pattern: &'static str,
    /// Operations it supports.
    pub operations: Vec<Operation>,
    /// Parameters it knows; none for a path that takes any.
    pub parameters: Option<Vec<&'static str>>,
}

impl Row {
    /// A path that takes every key below the mount.
    pub fn any_key(operations: &[Operation]) -> Self {
        Self { pattern: "{path*}", operations: operations.to_vec(), parameters: None }
    }
}

impl<E> Route<E> {
    /// Its row in the documentation.
    pub fn row(&self) -> Row {
        Row {
            pattern: self.pattern.text(),
            operations: self.operations.to_vec(),
            parameters: self.parameters.clone(),
        }
    }
}

/// A [`Route`] that knows the parameters of all the groups, for tables of them.
pub fn route<E>(
    pattern: &'static str,
    operations: &'static [Operation],
    parameters: &[&[&'static str]],
    endpoint: E,
) -> Route<E> {
    Route { pattern: Pattern::new(pattern), operations, parameters: Some(parameters.concat()), endpoint }
}

/// A [`Route`] that takes any parameters.
pub fn open_route<E>(pattern: &'static str, operations: &'static [Operation], endpoint: E) -> Route<E> {
    Route { pattern: Pattern::new(pattern), operations, parameters: None, endpoint }
}

/// A backend's endpoints, in the order they are tried.
#[derive(Debug, Clone)]
pub struct Router<E> {
    routes: Vec<Route<E>>,
}

/// A request whose endpoint was found.
#[derive(Clone)]
pub struct Call<'r, E> {
    /// The endpoint.
    pub endpoint: E,
    /// The request.
    pub request: &'r Request,
    captures: Captures<'r>,
    ignored: Vec<&'r str>,
    on_existence_check: bool,
}

impl<E: Copy> Router<E> {
    /// A router of these routes.
    pub fn new(routes: Vec<Route<E>>) -> Self {
        Self { routes }
    }

    /// The first route that covers `path`, with what the path gives its fields.
    pub fn find<'p>(&self, path: &'p str) -> Option<(&Route<E>, Captures<'p>)> {
        self.routes.iter().find_map(|route| Some((route, route.pattern.matches(path)?)))
    }

    /// Finds the endpoint of a request.
    ///
    /// # Errors
    /// [`Error::UnsupportedPath`] where no route covers the path, [`Error::UnsupportedOperation`]
    /// where its route lacks the operation.
    pub fn resolve<'r>(&self, request: &'r Request) -> Result<Call<'r, E>, Error> {
        let (route, captures) = self.find(&request.path).ok_or(Error::UnsupportedPath)?;
        if !route.operations.contains(&request.operation) {
            return Err(Error::UnsupportedOperation);
        }
        let ignored = match &route.parameters {
            None => Vec::new(),
            Some(known) => request
                .data
                .keys()
                .map(String::as_str)
                .filter(|key| !known.contains(key))
                .filter(|key| !captures.iter().any(|(field, _)| field == key))
                .collect(),
        };
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let on_existence_check = writes && route.operations.contains(&Operation::Create);
        Ok(Call { endpoint: route.endpoint, request, captures, ignored, on_existence_check })
    }

    /// The table of endpoints, for help and documentation.
    pub fn routes(&self) -> &[Route<E>] {
        &self.routes
    }
}

impl<'r, E> Call<'r, E> {
    /// The operation, one that the endpoint supports.
    pub fn operation(&self) -> Operation {
        self.request.operation
    }

    /// What the path holds for a field of the pattern; empty for a field it doesn't have.
    pub fn path_field(&self, field: &str) -> &'r str {
        self.captures.iter().find(|(name, _)| *name == field).map_or("", |(_, value)| value)
    }

    /// Typed access to the body.
    pub fn fields(&self) -> Fields<'r> {
        self.request.fields().on_existence_check(self.on_existence_check)
    }

    /// Adds to an answer Vault's warnings about parameters it didn't know and parameters that the
    /// path decided; an empty answer stays empty.
    pub fn finish(&self, response: Option<Response>) -> Option<Response> {
        let mut response = response?;
        if !self.ignored.is_empty() {
            let mut ignored = self.ignored.clone();
            ignored.sort_unstable();
            response
                .warnings
                .push(format!("Endpoint ignored these unrecognized parameters: [{}]", ignored.join(" ")));
        }
        let data = &self.request.data;
        let replaced: Vec<&str> = self
            .captures
            .iter()
            .map(|(field, _)| *field)
            .filter(|field| data.get(*field).is_some_and(|value| !value.is_null()))
            .collect();
        if !replaced.is_empty() {
            response.warnings.push(format!(
                "Endpoint replaced the value of these parameters with the values captured from \
                 the endpoint's path: [{}]",
                replaced.join(" ")
            ));
        }
        Some(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical::testing::request;
    use serde_json::json;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Endpoint {
        Role,
        Roles,
        Anything,
    }

    fn router() -> Router<Endpoint> {
        Router::new(vec![
            route("role/?", &[Operation::List], &[], Endpoint::Roles),
            route(
                "role/{name}",
                &[Operation::Create, Operation::Update, Operation::Read],
                &[&["uses"], &["ttl"]],
                Endpoint::Role,
            ),
            open_route("any/{path*}", &[Operation::Update], Endpoint::Anything),
        ])
    }

    #[test]
    fn requests_find_their_endpoint() {
        let router = router();
        let write = request(Operation::Update, "role/x", json!({"uses": "2"}));
        let call = router.resolve(&write).unwrap();
        assert_eq!(call.endpoint, Endpoint::Role);
        assert_eq!(call.operation(), Operation::Update);
        assert_eq!(call.path_field("name"), "x");
        assert_eq!(call.path_field("other"), "");
        assert_eq!(call.fields().int("uses").unwrap(), Some(2));
        let list = request(Operation::List, "role/", json!({}));
        assert_eq!(router.resolve(&list).unwrap().endpoint, Endpoint::Roles);
    }

    #[test]
    fn what_is_not_there_is_refused_as_vault_does() {
        let router = router();
        let status = |operation, path: &str| {
            let request = request(operation, path, json!({}));
            router.resolve(&request).map(|call| call.endpoint).unwrap_err().status()
        };
        assert_eq!(status(Operation::Read, "nothing"), 404);
        assert_eq!(status(Operation::Patch, "role/x"), 405);
        assert_eq!(status(Operation::Read, "role"), 405);
    }

    #[test]
    fn warnings_only_join_answers() {
        let router = router();
        let read = request(Operation::Read, "role/x", json!({"zeta": 1, "alpha": 2, "ttl": 3, "name": "y"}));
        let call = router.resolve(&read).unwrap();
        assert!(call.finish(None).is_none());
        assert_eq!(
            call.finish(Some(Response::default())).unwrap().warnings,
            [
                "Endpoint ignored these unrecognized parameters: [alpha zeta]",
                "Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [name]",
            ]
        );
        let open = request(Operation::Update, "any/a/b", json!({"zeta": 1}));
        let call = router.resolve(&open).unwrap();
        assert_eq!(call.path_field("path"), "a/b");
        assert!(call.finish(Some(Response::default())).unwrap().warnings.is_empty());
    }
}
