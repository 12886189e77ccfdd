//! Lab files with very long lines and very many problems: what they cost is bounded.

use unicode_width::UnicodeWidthStr;

use super::{Folder, lab_with};
use crate::spec::diagnostic::{Diagnostic, Place};

/// The problems of a lab file, each of which must stand where it says.
fn problems(text: &str) -> Vec<Diagnostic> {
    let error = Folder::new(text).load().unwrap_err();
    let problems = error.diagnostics().to_vec();
    for problem in &problems {
        let line = text.lines().nth(problem.line - 1).unwrap();
        let length = problem.offending.chars().count();
        let place: String = line.chars().skip(problem.column - 1).take(length).collect();
        assert_eq!(problem.offending, place);
        let kept: Vec<usize> = [&problem.message, &problem.source_line, &problem.offending]
            .map(|text| text.chars().count())
            .into_iter()
            .chain(problem.suggestion.as_ref().map(|text| text.chars().count()))
            .collect();
        assert!(kept.iter().all(|length| *length <= 2100), "{kept:?}");
    }
    let told = error.to_string();
    assert!(told.len() < 1_000_000);
    assert_eq!(told.ends_with("100 problems found; no more were looked for"), problems.len() == 100);
    problems
}

#[test]
fn a_long_line_of_many_problems_is_read_until_enough_are_found() {
    let list = |item: &str, count: usize| vec![item; count].join(", ");
    let head = "apiVersion: vaultlab/v1\nname: a\n";
    let keys: Vec<String> = (0..2000).map(|at| format!("日é{at:05}: {}", "x".repeat(70))).collect();
    let many = list("x", 2000);
    for (case, text) in [
        (
            "databases",
            format!("{head}databases: [{}]\n", list(&format!("{{é日{}: 1}}", "y".repeat(60)), 12_000)),
        ),
        ("keys", format!("{head}vault: {{{}}}\n", keys.join(", "))),
        ("types", format!("{head}roles: [{many}]\n")),
        ("repeated", lab_with("", "", "").replace("[read]", &format!("[{}]", list("read", 2000)))),
        (
            "undeclared",
            lab_with("", "", "").replace("[read]", &format!("[{}]", keys.join(", ").replace(": ", "-"))),
        ),
        (
            "undeclared among many",
            format!(
                "{head}databases: [{}]\nroles: [{}]\n",
                (0..3000)
                    .map(|at| format!("{{name: d{at:0>38}, engine: postgres}}, "))
                    .collect::<Vec<_>>()
                    .concat(),
                (0..3000)
                    .map(|at| format!(
                        "{{name: r{at}, database: e{at:0>38}, creation_statements: create.sql}}, "
                    ))
                    .collect::<Vec<_>>()
                    .concat()
            ),
        ),
        (
            "placeholders",
            lab_with("", &format!("revocation_statements: {{sql: '{}'}}", "{{é}} ".repeat(10_000)), ""),
        ),
    ] {
        assert_eq!(problems(&text).len(), 100, "{case}");
    }
}

#[test]
fn a_long_value_is_quoted_in_part() {
    let long = "é".repeat(200_000);
    let found =
        problems(&format!("apiVersion: vaultlab/v1\nname: a\nruntime: {long}\nvault: {{port: '{long}'}}\n"));
    assert_eq!(found.len(), 2);
    assert!(found[0].message.ends_with("é..."), "{}", found[0].message);
}

#[test]
fn aliases_that_repeat_a_long_text_are_refused() {
    let long = "x".repeat(500_000);
    let aliases = vec!["*a"; 1000].join(", ");
    let text = format!("apiVersion: vaultlab/v1\nname: a\nruntime: &a {long}\ndatabases: [{aliases}]\n");
    let error = Folder::new(text).load().unwrap_err();
    assert!(error.to_string().contains("larger or more deeply nested"), "{error}");
}

#[test]
fn the_excerpt_of_a_long_line_shows_the_place() {
    // The first character of each word tells where in the line it is.
    let line: String =
        (0..50_000).map(|at| if at % 4 == 0 { 'x' } else { ['日', 'é', ' '][at % 3] }).collect();
    let chars: Vec<char> = line.chars().collect();
    let text = format!("first\n{line}\n");
    for column in [1, 2, 499, 500, 501, 502, 503, 25_000, 25_001, 49_500, 49_999, 50_000] {
        let problem = Diagnostic::new("lab.yaml", &text, Place { line: 2, column, len: 3 }, "wrong");
        let wanted: String = chars.iter().skip(column - 1).take(3).collect();
        assert_eq!(problem.offending, wanted.trim_end(), "{column}");
        for width in [40, 100, 10_000] {
            let rendered = problem.render(width, false);
            let lines: Vec<&str> = rendered.lines().collect();
            assert_eq!(lines[1], format!(" --> lab.yaml:2:{column}"));
            let before = lines[4].find('^').unwrap();
            let mut places = lines[3].char_indices().map(|(at, _)| at);
            let place = places.find(|at| lines[3][..*at].width() == before).unwrap();
            assert!(
                lines[3][place..].starts_with(problem.offending.as_str()),
                "{column} {width}\n{rendered}"
            );
            assert!(lines[3].width() <= width.min(600));
            assert_eq!(lines[3].ends_with("..."), column < 49_900, "{rendered}");
        }
    }
    let past_the_end = Place { line: 2, column: 60_000, len: 1 };
    assert!(Diagnostic::new("lab.yaml", &text, past_the_end, "wrong").render(100, true).contains("60000"));
}
