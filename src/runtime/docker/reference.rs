//! Image names: `[registry/]repository[:tag][@digest]`.

use std::fmt;

use super::error::DockerError;

/// An image by name. The grammar is that of the distribution project's `reference` package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageRef {
    /// Registry and repository, as written.
    pub name: String,
    /// The tag; `latest` when neither tag nor digest is written.
    pub tag: Option<String>,
    /// As in `sha256:…`.
    pub digest: Option<String>,
}

impl ImageRef {
    pub fn parse(text: &str) -> Result<Self, DockerError> {
        let wrong = |cause| DockerError::ImageName { image: text.into(), cause };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if name.is_empty() {
            return Err(wrong("there is no repository"));
        }
        let path = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => path,
            _ => name,
        };
        let in_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
        if !path.chars().all(in_path) || path.split('/').any(str::is_empty) {
            return Err(wrong("a repository has lowercase letters, digits and . _ - between slashes"));
        }
        let in_tag = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !tag.chars().all(in_tag)) {
            return Err(wrong("a tag has 1 to 128 letters, digits and . _ -"));
        }
        let hexadecimal = |digest: &str| {
            digest.strip_prefix("sha256:").is_some_and(|hex| {
                hex.len() == 64 && hex.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
            })
        };
        if digest.is_some_and(|digest| !hexadecimal(digest)) {
            return Err(wrong("a digest is sha256: and 64 hexadecimal digits"));
        }
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
        Ok(Self { name: name.into(), tag: tag.map(Into::into), digest: digest.map(Into::into) })
    }

    /// The registry, as the Docker configuration's `auths` call it.
    pub fn registry(&self) -> &str {
        match self.name.split_once('/') {
            Some((first, _)) if is_registry(first) && !HUB_NAMES.contains(&first) => first,
            _ => DOCKER_HUB,
        }
    }

    /// What the engine's pull wants as `fromImage` and `tag`. A tag must always be given: without
    /// one, older engines pull every tag there is.
    pub fn for_pull(&self) -> (&str, &str) {
        (&self.name, self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest"))
    }
}

/// How Docker's configuration calls its own registry.
pub(super) const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Names of it that people write; its credentials are under the one above.
const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_tags_digests_and_registries() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, shown, registry, tag) in [
            ("postgres", "postgres:latest", DOCKER_HUB, "latest"),
            ("hashicorp/vault:1.20", "hashicorp/vault:1.20", DOCKER_HUB, "1.20"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000", "latest"),
            ("localhost/a:b", "localhost/a:b", "localhost", "b"),
            ("localhost:5000/x/y:1.2-rc", "localhost:5000/x/y:1.2-rc", "localhost:5000", "1.2-rc"),
            ("docker.io/library/postgres", "docker.io/library/postgres:latest", DOCKER_HUB, "latest"),
            ("index.docker.io/a/b:1", "index.docker.io/a/b:1", DOCKER_HUB, "1"),
            ("docker.io.example/a:1", "docker.io.example/a:1", "docker.io.example", "1"),
            ("quay.io/a@", "", "", ""),
            (&format!("r.io:1/a:t@{digest}"), &format!("r.io:1/a:t@{digest}"), "r.io:1", digest.as_str()),
            (&format!("a@{digest}"), &format!("a@{digest}"), DOCKER_HUB, digest.as_str()),
        ] {
            let Ok(image) = ImageRef::parse(text) else {
                assert_eq!(shown, "", "{text}");
                continue;
            };
            assert_eq!(
                (image.to_string().as_str(), image.registry(), image.for_pull().1),
                (shown, registry, tag)
            );
        }
        for wrong in ["", ":x", "A/b", "a//b", "a:", "a b", "a:b c", "a@sha256:1", "/a", "a/"] {
            assert!(ImageRef::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(text in "[a-z0-9.:/@_-]{0,40}") {
            if let Ok(image) = ImageRef::parse(&text) {
                prop_assert_eq!(ImageRef::parse(&image.to_string()).unwrap(), image);
            }
        }
    }
}
