//! Text that fits the terminal it goes to. What goes elsewhere is for programs and stays as it is.

use std::io::IsTerminal as _;

use textwrap::{Options, WordSeparator, WordSplitter};

/// Blanks between two columns.
const GAP: usize = 2;
/// Blanks before what goes on a further line.
const INDENT: usize = 4;
/// A column of words is not made narrower than this.
const NARROWEST: usize = 16;

/// The width of the terminal on standard output, if it is one.
fn terminal_width() -> Option<usize> {
    std::io::stdout().is_terminal().then(textwrap::termwidth)
}

/// Columns that line up: each row's cells, the last one not padded. On a terminal the last column is broken
/// between words, and columns that do not fit go on a further line.
pub fn table(rows: &[Vec<String>]) -> String {
    lay_out(rows, terminal_width().unwrap_or(usize::MAX))
}

/// Text with lines that are broken between words where they are too long for the terminal.
pub fn fit(text: String) -> String {
    match terminal_width() {
        Some(width) => text.split_inclusive('\n').map(|line| broken(line, width)).collect(),
        None => text,
    }
}

fn broken(line: &str, width: usize) -> String {
    let text = line.trim_end_matches('\n');
    // A command must stay one line to be copied, and one word cannot be broken.
    if length(text) <= width || text.starts_with("Next: ") || !text.trim().contains(' ') {
        return line.to_owned();
    }
    let indent = " ".repeat(INDENT);
    let options = between_words(width).subsequent_indent(&indent);
    textwrap::fill(text, options) + &line[text.len()..]
}

/// Neither paths nor names with hyphens are broken.
fn between_words<'a>(width: usize) -> Options<'a> {
    Options::new(width)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
}

fn lay_out(rows: &[Vec<String>], limit: usize) -> String {
    let places = places(rows, limit);
    let lines = places.last().map_or(0, |(line, _)| line + 1);
    let mut text = String::new();
    for row in rows {
        for line in 0..lines {
            let mut written = String::new();
            let cells = row.iter().zip(&places).enumerate().filter(|(_, (_, place))| place.0 == line);
            for (column, (cell, (_, start))) in cells {
                pad(&mut written, *start);
                if column + 1 < places.len() || start.saturating_add(length(cell)) <= limit {
                    written.push_str(cell);
                    continue;
                }
                let options = between_words(limit.saturating_sub(*start).max(1));
                written.push_str(&textwrap::wrap(cell, options).join(&format!("\n{}", " ".repeat(*start))));
            }
            // A further line that would be blank is none.
            if line == 0 || !written.trim().is_empty() {
                text.push_str(written.trim_end());
                text.push('\n');
            }
        }
    }
    text
}

/// The line of a row that each column is on, and where in it the column begins.
fn places(rows: &[Vec<String>], limit: usize) -> Vec<(usize, usize)> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize, of: fn(&str) -> usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| of(cell)).max().unwrap_or(0)
    };
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut end = 0;
    for column in 0..count {
        let width = widest(column, length);
        let needed =
            if column + 1 == count { widest(column, longest_word).max(NARROWEST).min(width) } else { width };
        let place = match places.last() {
            None => (0, 0),
            Some((line, _)) if end + GAP + needed > limit => (line + 1, INDENT),
            Some((line, _)) => (*line, end + GAP),
        };
        end = place.1 + width;
        places.push(place);
    }
    places
}

fn pad(text: &mut String, to: usize) {
    text.push_str(&" ".repeat(to.saturating_sub(length(text))));
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn longest_word(text: &str) -> usize {
    text.split(' ').map(length).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        assert_eq!(lay_out(&rows(&[&["a", "bb"], &["ccc", ""]]), usize::MAX), "a    bb\nccc\n");
    }

    #[test]
    fn words_of_the_last_column_are_broken_below_one_another() {
        let table = rows(&[&["vault", "pid 1, since today, unsealed"], &["db", "pid 2"]]);
        assert_eq!(lay_out(&table, 25), "vault  pid 1, since\n       today, unsealed\ndb     pid 2\n");
    }

    #[test]
    fn columns_that_do_not_fit_go_on_a_further_line_whole() {
        let table = rows(&[
            &["ROLE", "ACCOUNT", "LEASE"],
            &["pg-read", "v-root-pg-read", "database/creds/x"],
            &["-", "v-x", ""],
        ]);
        assert_eq!(
            lay_out(&table, 30),
            "ROLE     ACCOUNT\n    LEASE\npg-read  v-root-pg-read\n    database/creds/x\n-        v-x\n"
        );
    }

    #[test]
    fn lines_are_broken_between_words_and_commands_not_at_all() {
        assert_eq!(
            broken("  folder    /a/long/path/of/one/word\n", 20),
            "  folder\n    /a/long/path/of/one/word\n"
        );
        let next = "Next: vaultlab --name something up\n";
        assert_eq!(broken(next, 10), next);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_what_can_be_broken_fits(
            table in proptest::collection::vec(proptest::collection::vec("[a-z]{0,9}( [a-z]{1,9}){0,3}", 0..5), 0..5),
            limit in 40_usize..100,
        ) {
            let text = lay_out(&table, limit);
            let words = |text: &str| {
                let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
                words.sort();
                words
            };
            prop_assert_eq!(words(&text), words(&table.concat().join(" ")));
            for line in text.lines() {
                prop_assert!(length(line) <= limit.max(INDENT + 39), "{line}");
            }
        }
    }
}
