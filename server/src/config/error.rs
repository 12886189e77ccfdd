//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::hcl::{self, Span};

/// A configuration the server can't start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder that can't be read.
    #[error("cannot read configuration {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Text that is not a configuration, or a value that can't be.
    #[error("{}:{span}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The text at fault.
        span: Span,
        /// What is wrong.
        message: String,
    },
    /// No file was given, or the folders have none.
    #[error(
        "no configuration files found: give a file, or a folder with *.hcl or *.json files, with -config"
    )]
    NoFiles,
    /// No file says where data is kept.
    #[error("a storage backend must be specified: storage \"file\" {{ path = … }} or storage \"inmem\" {{}}")]
    NoStorage,
    /// No file says where to listen.
    #[error("a listener must be specified: listener \"tcp\" {{ address = … }}")]
    NoListener,
}

/// Something the server does not know or does nothing with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub path: PathBuf,
    /// The key.
    pub span: Span,
    /// What about it, without its place.
    pub message: String,
}

impl fmt::Display for Warning {
    /// In Vault's form: `… at FILE:LINE:COLUMN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.message, self.path.display(), self.span)
    }
}

/// A fault before its file is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub span: Span,
    pub message: String,
}

impl Fault {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    pub fn in_file(self, path: PathBuf) -> ConfigError {
        ConfigError::Invalid { path, span: self.span, message: self.message }
    }
}

impl From<hcl::Error> for Fault {
    fn from(error: hcl::Error) -> Self {
        Self::new(error.span(), error.message())
    }
}

/// Collects the warnings of one file.
#[derive(Debug)]
pub(super) struct Warnings {
    pub path: PathBuf,
    pub list: Vec<Warning>,
}

impl Warnings {
    pub fn add(&mut self, span: Span, message: String) {
        self.list.push(Warning { path: self.path.clone(), span, message });
    }

    /// A key nobody knows, in Vault's words.
    pub fn unknown(&mut self, item: &hcl::Item) {
        let name = item.name();
        self.add(item.key_span(), format!("unknown or unsupported field {name} found in configuration"));
    }

    /// A key of Vault's that changes nothing here.
    pub fn no_effect(&mut self, item: &hcl::Item) {
        let name = item.name();
        self.add(item.key_span(), format!("field {name} has no effect in this server"));
    }
}
