//! Any text is a configuration or is refused with a place inside the text.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vaultlab_server::config::{Config, ConfigError};

fuzz_target!(|text: &str| match Config::parse(Path::new("fuzz.hcl"), text) {
    Ok((config, _)) => {
        let _ = config.sanitized();
    }
    Err(ConfigError::Invalid { span, .. }) => {
        assert!(text.get(span.offset..span.offset + span.length).is_some());
    }
    Err(other) => panic!("{other}"),
});
