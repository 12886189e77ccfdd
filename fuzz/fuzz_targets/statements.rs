//! Any entry is cut into statements that lose nothing but semicolons and space around them, and values are put
//! in as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaultlab_server::database::statements::{Blocks, prepare, split, substitute};

fuzz_target!(|input: (&str, &str)| {
    let (entry, value) = input;
    for blocks in [Blocks::KeepWhole, Blocks::Split] {
        let statements = split(entry, blocks);
        for statement in &statements {
            assert!(!statement.is_empty() || entry.trim().is_empty());
            assert_eq!(statement.trim(), statement);
        }
        // Base64 and JSON arrays hold other text than they show.
        let text = entry.trim();
        let plain = !text.starts_with('[') && text.contains([' ', ';', '"']);
        if plain {
            let bare =
                |text: &str| -> String { text.chars().filter(|c| *c != ';' && !c.is_whitespace()).collect() };
            assert_eq!(bare(&statements.concat()), bare(entry));
        }
        let prepared = prepare(&[entry.to_owned()], &[("name", value)], blocks);
        assert_eq!(prepared.len(), statements.len());
        for (prepared, statement) in prepared.iter().zip(&statements) {
            assert_eq!(&prepared.template, statement);
            assert_eq!(*prepared.sql, statement.replace("{{name}}", value));
        }
    }
    assert_eq!(substitute(entry, &[]), entry);
});
