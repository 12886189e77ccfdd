//! Passwords: Vault's default form, and password policies.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::hcl::{self, Item, Value, ValueKind};

/// Vault draws from one byte per character, so a policy's characters are at most this many.
const MAX_CHARSET: usize = 256;
/// Draws before a policy counts as impossible.
const MAX_ATTEMPTS: usize = 100_000;
/// How long is drawn before a policy counts as impossible, as in Vault.
const MAX_TIME: Duration = Duration::from_secs(1);
/// Bounds of a policy's `length` in `sys/policies/password`.
const LENGTH_RANGE: std::ops::RangeInclusive<usize> = 4..=100;

/// A required number of characters of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharsetRule {
    /// The characters that count.
    pub charset: Vec<char>,
    /// How many a password must have at least.
    pub min_chars: usize,
}

/// What generated passwords look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordPolicy {
    length: usize,
    rules: Vec<CharsetRule>,
    charset: Vec<char>,
}

/// Why a policy cannot be used. The texts are Vault's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// The policy is not HCL, or an attribute has the wrong type.
    #[error("unable to decode: {0}")]
    Syntax(String),
    /// A rule is not one Vault knows.
    #[error("unable to parse rules: {0}")]
    Rules(String),
    /// `length` is missing or zero.
    #[error("length must be > 0")]
    Length,
    /// The minimums add up to more than the length.
    #[error("specified rules require at least {required} characters but {length} is specified")]
    TooShort {
        /// Sum of the minimums.
        required: usize,
        /// The policy's length.
        length: usize,
    },
    /// No rule names any characters.
    #[error("no charset specified")]
    NoCharset,
    /// The rules name more different characters than Vault can draw from.
    #[error("charset is too long: limited to 255 characters")]
    CharsetTooLong,
    /// A character cannot be typed.
    #[error("non-printable character in charset")]
    NotPrintable,
    /// The length is outside what Vault stores.
    #[error("passwords must be between {} and {} characters", LENGTH_RANGE.start(), LENGTH_RANGE.end())]
    OutOfRange,
    /// No password was found that keeps all rules.
    #[error("timed out generating string")]
    Exhausted,
}

impl PasswordPolicy {
    /// Vault's default: 20 characters with at least one lower-case letter, upper-case letter, digit and `-`.
    pub fn vault_default() -> Self {
        let rule = |set: &str| CharsetRule { charset: set.chars().collect(), min_chars: 1 };
        let rules = vec![
            rule("abcdefghijklmnopqrstuvwxyz"),
            rule("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            rule("0123456789"),
            rule("-"),
        ];
        let charset = union(&rules);
        Self { length: 20, rules, charset }
    }

    /// Reads a policy in HCL: `length`, and `rule "charset" { charset, min-chars }` blocks.
    ///
    /// # Errors
    /// [`PolicyError::Syntax`] and [`PolicyError::Rules`] for what is not a policy, else as
    /// [`PasswordPolicy::new`].
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let body = hcl::parse(text).map_err(|e| PolicyError::Syntax(e.to_string()))?;
        let mut length = 0;
        let mut rules = Vec::new();
        for item in &body.items {
            match item.name() {
                "length" => length = count("length", &item.value)?,
                "rule" => rules.push(CharsetRule::read(item)?),
                // Vault's decoder passes over what it does not know.
                _ => {}
            }
        }
        Self::new(length, rules)
    }

    /// Checks and keeps a policy.
    ///
    /// # Errors
    /// Every variant of [`PolicyError`] that names a fault of the rules.
    pub fn new(length: usize, mut rules: Vec<CharsetRule>) -> Result<Self, PolicyError> {
        let required = rules.iter().fold(0, |sum: usize, rule| sum.saturating_add(rule.min_chars));
        if length == 0 {
            return Err(PolicyError::Length);
        }
        if length < required {
            return Err(PolicyError::TooShort { required, length });
        }
        let charset = union(&rules);
        if charset.is_empty() {
            return Err(PolicyError::NoCharset);
        }
        if charset.len() > MAX_CHARSET {
            return Err(PolicyError::CharsetTooLong);
        }
        if charset.iter().any(|c| c.is_control() || (c.is_whitespace() && *c != ' ')) {
            return Err(PolicyError::NotPrintable);
        }
        // What a draw is measured by stays small, however long the policy is: there are at most as many
        // rules as characters of a password, with at most `MAX_CHARSET` characters each.
        rules.retain(|rule| rule.min_chars > 0);
        for rule in &mut rules {
            rule.charset = union(std::slice::from_ref(rule));
        }
        Ok(Self { length, rules, charset })
    }

    /// Checks what `sys/policies/password` asks of a policy beyond its syntax: a length of 4 to 100 and rules
    /// that can be met.
    ///
    /// # Errors
    /// [`PolicyError::OutOfRange`] or [`PolicyError::Exhausted`].
    pub fn check_storable(&self) -> Result<(), PolicyError> {
        if !LENGTH_RANGE.contains(&self.length) {
            return Err(PolicyError::OutOfRange);
        }
        self.generate().map(drop)
    }

    /// Draws a password: uniformly among all texts of the length that keep the rules.
    ///
    /// # Errors
    /// [`PolicyError::Exhausted`] when the rules leave (nearly) no password.
    pub fn generate(&self) -> Result<Zeroizing<String>, PolicyError> {
        let mut rng = rand::rng();
        let start = Instant::now();
        for _ in 0..MAX_ATTEMPTS {
            if start.elapsed() > MAX_TIME {
                break;
            }
            let candidate: Zeroizing<String> = Zeroizing::new(
                (0..self.length).map(|_| self.charset[rng.random_range(0..self.charset.len())]).collect(),
            );
            if self.rules.iter().all(|rule| rule.holds(&candidate)) {
                return Ok(candidate);
            }
        }
        Err(PolicyError::Exhausted)
    }
}

impl CharsetRule {
    fn read(item: &Item) -> Result<Self, PolicyError> {
        let fault = |text: String| PolicyError::Rules(text);
        let ValueKind::Object(body) = &item.value.kind else {
            return Err(fault("rule info cannot be empty".to_owned()));
        };
        // `rule "charset" { … }`, and `rule { charset { … } }` as JSON policies nest it.
        let (kind, body) = match item.labels() {
            [label, ..] => (label.name.as_str(), body),
            [] => match body.items.first().map(|inner| (inner.name(), &inner.value.kind)) {
                Some((kind, ValueKind::Object(inner))) => (kind, inner),
                _ => return Err(fault("unable to get rule info: rule is empty".to_owned())),
            },
        };
        if kind != "charset" {
            return Err(fault(format!("unable to parse rule {kind}: unrecognized rule type {kind}")));
        }
        let mut rule = Self { charset: Vec::new(), min_chars: 0 };
        for inner in &body.items {
            match (inner.name(), &inner.value.kind) {
                ("charset", ValueKind::String(text)) => rule.charset = text.chars().collect(),
                ("charset", _) => {
                    return Err(fault("failed to parse charset restriction: charset is no text".to_owned()));
                }
                ("min-chars", _) => rule.min_chars = count("min-chars", &inner.value)?,
                _ => {}
            }
        }
        Ok(rule)
    }

    fn holds(&self, candidate: &str) -> bool {
        candidate.chars().filter(|c| self.charset.contains(c)).count() >= self.min_chars
    }
}

/// A number of characters; negative ones count as none, and fractions are dropped.
fn count(name: &str, value: &Value) -> Result<usize, PolicyError> {
    match &value.kind {
        ValueKind::Number { value, .. } => Ok(usize::try_from(*value).unwrap_or(0)),
        // Saturates at both ends.
        ValueKind::Float(number) => Ok(*number as usize),
        _ => Err(PolicyError::Syntax(format!("{name} is {}, not a whole number", value.describe()))),
    }
}

fn union(rules: &[CharsetRule]) -> Vec<char> {
    let mut all: Vec<char> = rules.iter().flat_map(|r| r.charset.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(set: &str, min_chars: usize) -> CharsetRule {
        CharsetRule { charset: set.chars().collect(), min_chars }
    }

    #[test]
    fn default_passwords_have_vaults_form() {
        let policy = PasswordPolicy::vault_default();
        for _ in 0..200 {
            let password = policy.generate().unwrap();
            assert_eq!(password.len(), 20);
            assert!(password.contains(|c: char| c.is_ascii_lowercase()));
            assert!(password.contains(|c: char| c.is_ascii_uppercase()));
            assert!(password.contains(|c: char| c.is_ascii_digit()));
            assert!(password.contains('-'));
        }
        assert_ne!(policy.generate().unwrap(), policy.generate().unwrap());
    }

    const POLICY: &str = r#"
        length = 12
        rule "charset" { charset = "abcdef" min-chars = 2 }
        rule "charset" {
            charset   = "0123456789"
            min-chars = 3
        }
    "#;

    #[test]
    fn policies_are_read_from_hcl_and_json() {
        let policy = PasswordPolicy::parse(POLICY).unwrap();
        policy.check_storable().unwrap();
        for _ in 0..50 {
            let password = policy.generate().unwrap();
            assert_eq!(password.len(), 12);
            assert!(password.chars().filter(char::is_ascii_digit).count() >= 3, "{}", *password);
        }
        let json = r#"{"length": 5, "rule": [{"charset": {"charset": "ab", "min-chars": 1}}]}"#;
        assert_eq!(
            PasswordPolicy::parse(json).unwrap(),
            PasswordPolicy::new(5, vec![rule("ab", 1)]).unwrap()
        );
    }

    #[test]
    fn faulty_policies_are_named() {
        let fault = |text: &str| PasswordPolicy::parse(text).unwrap_err().to_string();
        assert!(fault("length = ").starts_with("unable to decode: "));
        assert_eq!(fault("rule \"charset\" { charset = \"ab\" }"), "length must be > 0");
        assert!(fault("length = \"x\"").contains("not a whole number"));
        assert!(fault("length = 9\nrule \"entropy\" {}").contains("unable to parse rule entropy"));
        assert_eq!(fault("length = 9"), "no charset specified");
    }

    #[test]
    fn faulty_rules_are_refused() {
        let fault = |length, rules| PasswordPolicy::new(length, rules).unwrap_err();
        assert_eq!(fault(0, vec![rule("a", 0)]), PolicyError::Length);
        assert_eq!(fault(2, vec![rule("a", 3)]), PolicyError::TooShort { required: 3, length: 2 });
        assert_eq!(fault(5, vec![]), PolicyError::NoCharset);
        assert_eq!(fault(5, vec![rule("a\n", 0)]), PolicyError::NotPrintable);
    }

    #[test]
    fn impossible_rules_end() {
        let policy = PasswordPolicy::new(4, vec![rule("", 1), rule("a", 0)]).unwrap();
        assert_eq!(policy.generate().unwrap_err(), PolicyError::Exhausted);
        assert_eq!(policy.check_storable().unwrap_err(), PolicyError::Exhausted);
        let short = PasswordPolicy::new(3, vec![rule("a", 0)]).unwrap();
        assert_eq!(short.check_storable().unwrap_err(), PolicyError::OutOfRange);
    }

    #[test]
    fn minimums_beyond_all_numbers_are_too_long() {
        let rules = vec![rule("a", usize::MAX), rule("b", 2)];
        let error = PasswordPolicy::new(20, rules).unwrap_err();
        assert_eq!(error, PolicyError::TooShort { required: usize::MAX, length: 20 });
    }

    #[test]
    fn a_long_policy_that_nothing_satisfies_ends_as_soon() {
        let long: String = "ab".repeat(5_000);
        let mut rules: Vec<_> = (0..99).map(|_| rule(&long, 1)).collect();
        rules.extend((0..10_000).map(|_| rule("a", 0)));
        rules.push(rule("", 1));
        let start = Instant::now();
        let policy = PasswordPolicy::new(100, rules).unwrap();
        assert_eq!(policy.generate().unwrap_err(), PolicyError::Exhausted);
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn generated_passwords_keep_the_rules(length in 4usize..40, a in 0usize..2, b in 0usize..2) {
            let policy = PasswordPolicy::new(length, vec![rule("abc", a), rule("XYZ-!", b)]).unwrap();
            let password = policy.generate().unwrap();
            prop_assert_eq!(password.chars().count(), length);
            prop_assert!(policy.rules.iter().all(|r| r.holds(&password)));
        }
    }
}
