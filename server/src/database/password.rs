//! Passwords: Vault's default form, and password policies.

use rand::RngExt as _;
use thiserror::Error;
use zeroize::Zeroizing;

/// Vault draws from one byte per character, so a policy's characters are at most this many.
const MAX_CHARSET: usize = 256;
/// Draws before a policy counts as impossible; Vault gives up after one second.
const MAX_ATTEMPTS: usize = 100_000;
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

    /// Checks and keeps a policy.
    ///
    /// # Errors
    /// Every variant of [`PolicyError`] that names a fault of the rules.
    pub fn new(length: usize, rules: Vec<CharsetRule>) -> Result<Self, PolicyError> {
        let required = rules.iter().map(|r| r.min_chars).sum();
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
        for _ in 0..MAX_ATTEMPTS {
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
    fn holds(&self, candidate: &str) -> bool {
        candidate.chars().filter(|c| self.charset.contains(c)).count() >= self.min_chars
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
