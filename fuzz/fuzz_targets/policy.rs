//! Any text is a policy or has faults inside the text; what is read can be compiled and asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaultlab_server::logical::Operation;
use vaultlab_server::policy::{Acl, Policy, Request};

fuzz_target!(|input: (&str, &str)| {
    let (text, path) = input;
    match Policy::parse("fuzz", text) {
        Ok(policy) => {
            let acl = Acl::compile([&policy], None);
            for operation in [Operation::Read, Operation::List, Operation::Update] {
                let decision = acl.check(&Request::new(operation, path));
                assert!(!decision.root);
            }
            assert!(!acl.capabilities(path).is_empty());
            let _ = acl.reaches(path);
        }
        Err(error) => {
            assert!(!error.faults().is_empty());
            for fault in error.faults() {
                let span = fault.span;
                assert!(text.get(span.offset..span.offset + span.length).is_some());
            }
        }
    }
});
