//! Path patterns of a backend: literal segments and named fields.

/// One segment of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    /// Exactly this text.
    Literal(&'static str),
    /// A name in Vault's sense (see [`is_name`]), captured under this field.
    Name(&'static str),
    /// Any one non-empty segment, captured under this field.
    Any(&'static str),
    /// Everything that is left, slashes included and possibly nothing, captured under this field.
    Rest(&'static str),
}

/// What a path yielded for the named fields of a pattern.
pub type Captures<'p> = Vec<(&'static str, &'p str)>;

/// A path with named fields, such as `role/{name}/secret-id/lookup`.
///
/// `{x}` takes a name, `{x+}` any one segment, `{x*}` the rest of the path. A pattern that ends in
/// `/?` also matches with a trailing slash, as listings have one.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: &'static str,
    segments: Vec<Segment>,
    optional_slash: bool,
}

impl Pattern {
    /// Reads a pattern. Every text is one: what isn't a field is a literal.
    pub fn new(text: &'static str) -> Self {
        let (body, optional_slash) = match text.strip_suffix("/?") {
            Some(body) => (body, true),
            None => (text, false),
        };
        let segments = body.split('/').map(segment).collect();
        Self { text, segments, optional_slash }
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Names of its fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Name(field) | Segment::Any(field) | Segment::Rest(field) => Some(*field),
        })
    }

    /// The fields of `path`, or `None` where the pattern does not match it.
    ///
    /// `path` is relative to the mount, without a leading slash.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Captures<'p>> {
        let mut rest = Some(path);
        let mut captures = Captures::new();
        for segment in &self.segments {
            if let Segment::Rest(field) = segment {
                captures.push((field, rest.unwrap_or_default()));
                return Some(captures);
            }
            let (head, tail) = match rest?.split_once('/') {
                Some((head, tail)) => (head, Some(tail)),
                None => (rest?, None),
            };
            match segment {
                Segment::Literal(text) if *text == head => {}
                Segment::Name(field) if is_name(head) => captures.push((field, head)),
                Segment::Any(field) if !head.is_empty() => captures.push((field, head)),
                _ => return None,
            }
            rest = tail;
        }
        match rest {
            None => Some(captures),
            Some("") if self.optional_slash => Some(captures),
            Some(_) => None,
        }
    }
}

fn segment(text: &'static str) -> Segment {
    let Some(field) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else {
        return Segment::Literal(text);
    };
    if let Some(field) = field.strip_suffix('*') {
        Segment::Rest(field)
    } else if let Some(field) = field.strip_suffix('+') {
        Segment::Any(field)
    } else {
        Segment::Name(field)
    }
}

/// Whether Vault takes this as a name in a path: letters, digits and `_`, inside also `-` and `.`.
pub fn is_name(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => {
            word(first) && word(last) && bytes.iter().all(|&b| word(b) || b == b'-' || b == b'.')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn captures(pattern: &'static str, path: &'static str) -> Option<Captures<'static>> {
        Pattern::new(pattern).matches(path)
    }

    #[test]
    fn literals_and_names() {
        assert_eq!(captures("login", "login"), Some(vec![]));
        assert_eq!(captures("login", "login/"), None);
        assert_eq!(captures("role/{name}", "role/web-app.1"), Some(vec![("name", "web-app.1")]));
        assert_eq!(
            captures("role/{name}/secret-id/lookup", "role/x/secret-id/lookup"),
            Some(vec![("name", "x")])
        );
        for path in ["role", "role/", "role/x/y", "role/-x", "role/x-", "role/a b", "role/ä", "rolex"] {
            assert_eq!(captures("role/{name}", path), None, "{path}");
        }
    }

    #[test]
    fn listings_take_a_trailing_slash() {
        assert_eq!(captures("role/?", "role/"), Some(vec![]));
        assert_eq!(captures("role/?", "role"), Some(vec![]));
        assert_eq!(captures("role/?", "role//"), None);
    }

    #[test]
    fn rest_takes_everything() {
        assert_eq!(captures("data/{path*}", "data/a/b/"), Some(vec![("path", "a/b/")]));
        assert_eq!(captures("data/{path*}", "data/"), Some(vec![("path", "")]));
        assert_eq!(captures("data/{path*}", "data"), Some(vec![("path", "")]));
        assert_eq!(captures("{path*}", ""), Some(vec![("path", "")]));
        assert_eq!(captures("issuer/{id+}/json", "issuer/-a b-/json"), Some(vec![("id", "-a b-")]));
        assert_eq!(captures("issuer/{id+}", "issuer/"), None);
    }

    #[test]
    fn fields_are_listed() {
        let pattern = Pattern::new("a/{x}/b/{y*}");
        assert_eq!(pattern.fields().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(pattern.text(), "a/{x}/b/{y*}");
    }

    proptest! {
        #[test]
        fn a_matched_name_is_the_segment(name in "[A-Za-z0-9_]([-.A-Za-z0-9_]{0,8}[A-Za-z0-9_])?") {
            let path = format!("role/{name}/policies");
            let pattern = Pattern::new("role/{name}/policies");
            prop_assert_eq!(pattern.matches(&path), Some(vec![("name", name.as_str())]));
        }

        #[test]
        fn any_path_is_answered(path: String) {
            let _ = Pattern::new("role/{name}/x/?").matches(&path);
            let everything = Pattern::new("{all*}").matches(&path);
            prop_assert_eq!(everything, Some(vec![("all", path.as_str())]));
        }
    }
}
