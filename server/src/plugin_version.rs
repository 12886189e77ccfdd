//! Versions of plugins. What is built in is all there is, so only its version can be asked for.

use crate::logical::Error;

/// The version of all that is built in.
pub fn builtin() -> String {
    format!("v{}+builtin.vault", crate::VERSION)
}

/// A version that was asked for, in its canonical form.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    /// `v1.2.3-pre+build`
    pub text: String,
    /// Whether it is one of what is built in: of any release, which this server stands in for.
    pub is_builtin: bool,
}

/// Reads a version as Vault does: its numbers may be fewer than three, and a `v` before them is not needed.
///
/// # Errors
/// 400 for what is no version.
pub fn parse(version: &str) -> Result<Version, Error> {
    canonical(version).ok_or_else(|| {
        Error::bad_request(format!(
            "version {version:?} is not a valid semantic version: Malformed version: {version}"
        ))
    })
}

fn canonical(version: &str) -> Option<Version> {
    let bare = version.strip_prefix('v').unwrap_or(version);
    let (core, build) = bare.split_once('+').map_or((bare, None), |(core, build)| (core, Some(build)));
    let (numbers, pre) = core.split_once('-').map_or((core, None), |(core, pre)| (core, Some(pre)));
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.~".contains(&b))
    };
    if ![pre, build].into_iter().flatten().all(is_word) {
        return None;
    }
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut numbers = numbers
        .split('.')
        .map(|text| Some(text).filter(is_number)?.parse::<u64>().ok())
        .collect::<Option<Vec<_>>>()?;
    numbers.resize(numbers.len().max(3), 0);
    let mut text = format!("v{}", numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("."));
    for (sign, part) in [('-', pre), ('+', build)] {
        if let Some(part) = part {
            text.push(sign);
            text.push_str(part);
        }
    }
    let is_builtin = build.is_some_and(|build| build.split('.').any(|part| part == "builtin"));
    Some(Version { text, is_builtin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_one_form() {
        for (given, text) in [
            ("1", "v1.0.0"),
            ("v1.2", "v1.2.0"),
            ("1.02.3", "v1.2.3"),
            ("1.2.3.4", "v1.2.3.4"),
            ("1.2.3-rc.1+ent", "v1.2.3-rc.1+ent"),
        ] {
            assert_eq!(
                parse(given).unwrap(),
                Version { text: text.to_owned(), is_builtin: false },
                "{given}"
            );
        }
        for given in [builtin().as_str(), "1.14.9+builtin.vault", "v0.21.0+builtin"] {
            assert!(parse(given).unwrap().is_builtin, "{given}");
        }
        for given in ["", "v", "x", "1.x", "1..2", "1.2.3-", "1.2.3+", "1.2.3+a b", "+builtin"] {
            assert!(parse(given).is_err(), "{given}");
        }
    }
}
