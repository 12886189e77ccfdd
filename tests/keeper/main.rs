//! The keeper on the embedded server: whatever happens, the delivered pair logs in.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod break_glass;
mod client;
mod clock;
mod disk;
mod docker;
mod faults;
mod lifecycle;
mod rotation;
mod static_roles;
mod turnover;
mod wrapped;
