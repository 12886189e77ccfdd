//! Secrets taken out of texts that others wrote, such as a database's messages.

/// A piece of a secret that is shorter than this tells too little to hide it.
const PIECE: usize = 4;

/// Puts `instead` in place of every secret in `text`, and of every piece of one that stands at a cut: a
/// database's error quotes some characters of the statement, and the quotation may begin or end in the middle
/// of a password.
#[must_use]
pub fn hide(text: &str, secrets: &[&str], instead: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let mut hidden = vec![false; text.len()];
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let secret: Vec<char> = secret.chars().collect();
        for (start, end) in runs(&found(&text, &secret)) {
            let cut = start == 0
                || end == text.len()
                || is_quote(text[start - 1])
                || is_quote(text[end])
                || matches!(text[end], '.' | '…');
            if cut || end - start >= secret.len() {
                hidden[start..end].fill(true);
            }
        }
    }
    let mut shown = String::new();
    let mut at = 0;
    for (start, end) in runs(&hidden) {
        shown.extend(&text[at..start]);
        shown.push_str(instead);
        at = end;
    }
    shown.extend(&text[at..]);
    shown
}

/// Which characters belong to a piece of the secret, or to all of it if it is short.
fn found(text: &[char], secret: &[char]) -> Vec<bool> {
    let length = PIECE.min(secret.len());
    let mut found = vec![false; text.len()];
    for (start, window) in text.windows(length).enumerate() {
        if secret.windows(length).any(|piece| piece == window) {
            found[start..start + length].fill(true);
        }
    }
    found
}

/// Start and end of each stretch of marked characters.
fn runs(marks: &[bool]) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut at = 0;
    for stretch in marks.chunk_by(|a, b| a == b) {
        if stretch[0] {
            runs.push((at, at + stretch.len()));
        }
        at += stretch.len();
    }
    runs
}

fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '"' | '`' | '«' | '»' | '“' | '”')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_secrets_are_hidden_wherever_they_stand() {
        assert_eq!(
            hide("near 'p1' p2, p3", &["p1", "", "p2"], "[password]"),
            "near '[password]' [password], p3"
        );
        assert_eq!(hide("é hunter22 é", &["hunter22"], "*"), "é * é");
    }

    #[test]
    fn a_word_that_only_looks_like_a_piece_stays() {
        let text = "Operation CREATE USER failed";
        assert_eq!(hide(text, &["aUSERb-of-mine"], "*"), text);
    }

    #[test]
    fn what_is_left_of_a_secret_at_a_cut_is_hidden() {
        let secret = "Lag4bkccUXhp1-GhYq9x";
        for (text, expected) in [
            (
                "near 'USSER 'v'@'%' IDENTIFIED BY 'Lag4bkccUXhp1-GhY...' at",
                "near 'USSER 'v'@'%' IDENTIFIED BY '*...' at",
            ),
            ("near 'IDENTIFIED BY 'Lag4bkccU' at line 1", "near 'IDENTIFIED BY '*' at line 1"),
            ("near 'hp1-GhYq9x' WITH' at line 1", "near '*' WITH' at line 1"),
            ("at or near \"ccUX\"", "at or near \"*\""),
        ] {
            assert_eq!(hide(text, &[secret], "*"), expected);
        }
    }

    proptest! {
        #[test]
        fn no_piece_of_a_secret_survives_a_quotation(
            secret in "[a-z0-9]{6,30}",
            after in "[A-Z ]{0,40}",
            from in 0_usize..120,
            length in 0_usize..120,
            ellipsis in any::<bool>(),
        ) {
            let statement = format!("CREATE USER IDENTIFIED BY '{secret}' {after}");
            let quoted: String = statement.chars().skip(from).take(length).collect();
            let message = format!("SYNTAX, NEAR '{quoted}{}' AT LINE 1", if ellipsis { "..." } else { "" });
            let left = hide(&message, &[&secret], "*");
            for start in 0..=secret.len() - PIECE {
                prop_assert!(!left.contains(&secret[start..start + PIECE]), "{left}");
            }
        }
    }
}
