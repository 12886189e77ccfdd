//! Any text is a lab file or has problems that stand where they say, and that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaultlab::spec::{Diagnostic, LAB_FILE, LabSpec};

fuzz_target!(|text: &str| {
    let Err(error) = LabSpec::parse(text) else { return };
    assert!((1..=100).contains(&error.diagnostics().len()));
    for diagnostic in error.diagnostics() {
        assert!(!diagnostic.message.is_empty());
        if diagnostic.file == LAB_FILE {
            check(diagnostic, text);
        }
        for width in [0, 40, 2000] {
            diagnostic.render(width, true);
        }
    }
    assert!(!error.in_brief().is_empty());
});

fn check(diagnostic: &Diagnostic, text: &str) {
    if diagnostic.line == 0 {
        return;
    }
    // Its lines end at a carriage return too.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    // The parser tells of an end that comes too early one line past the last.
    assert!(diagnostic.line <= text.lines().count().max(1) + 1, "{diagnostic:?}");
    let line = text.lines().nth(diagnostic.line - 1).unwrap_or_default();
    let place: String = line.chars().skip(diagnostic.column - 1).collect();
    assert!(place.starts_with(&diagnostic.offending), "{diagnostic:?}");
}
