//! Files and folders to one [`Config`].

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{Fault, Warnings};
use super::{Config, ConfigError, Warning, document};
use crate::hcl;

impl Config {
    /// Loads files and folders in the order given; of a folder, its `*.hcl` and `*.json`
    /// files by name. Later files add listeners and audit devices and replace single
    /// values; of two lease TTLs the longer counts, and a switch that is on stays on,
    /// as in Vault.
    ///
    /// # Errors
    /// [`ConfigError`], with the place where a text is at fault.
    pub fn load(paths: &[PathBuf]) -> Result<(Self, Vec<Warning>), ConfigError> {
        let files = files(paths)?;
        if files.is_empty() {
            return Err(ConfigError::NoFiles);
        }
        let mut config = Self::default();
        let mut warnings = Vec::new();
        for path in files {
            let text = fs::read_to_string(&path)
                .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            let (one, found) = Self::parse(&path, &text)?;
            warnings.extend(found);
            config.merge(one);
        }
        if config.storage.is_none() {
            return Err(ConfigError::NoStorage);
        }
        if config.listeners.is_empty() {
            return Err(ConfigError::NoListener);
        }
        Ok((config, warnings))
    }

    /// Reads the text of one file; `path` is only for errors and warnings.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`]
    pub fn parse(path: &Path, text: &str) -> Result<(Self, Vec<Warning>), ConfigError> {
        let mut warnings = Warnings { path: path.to_owned(), list: Vec::new() };
        let config = hcl::parse(text)
            .map_err(Fault::from)
            .and_then(|body| document::read(&body, &mut warnings))
            .map_err(|fault| fault.in_file(path.to_owned()))?;
        Ok((config, warnings.list))
    }

    fn merge(&mut self, later: Self) {
        fn replace<T>(mine: &mut Option<T>, later: Option<T>) {
            if later.is_some() {
                *mine = later;
            }
        }
        self.listeners.extend(later.listeners);
        self.audit.extend(later.audit);
        self.user_lockout.merge(later.user_lockout);
        replace(&mut self.storage, later.storage);
        replace(&mut self.api_addr, later.api_addr);
        replace(&mut self.cluster_addr, later.cluster_addr);
        replace(&mut self.cluster_name, later.cluster_name);
        replace(&mut self.default_max_request_duration, later.default_max_request_duration);
        replace(&mut self.log_level, later.log_level);
        replace(&mut self.log_format, later.log_format);
        replace(&mut self.log_file, later.log_file);
        replace(&mut self.pid_file, later.pid_file);
        replace(&mut self.plugin_directory, later.plugin_directory);
        replace(&mut self.telemetry, later.telemetry);
        self.default_lease_ttl = self.default_lease_ttl.max(later.default_lease_ttl);
        self.max_lease_ttl = self.max_lease_ttl.max(later.max_lease_ttl);
        self.ui |= later.ui;
        self.disable_mlock |= later.disable_mlock;
        self.disable_cache |= later.disable_cache;
        self.disable_clustering |= later.disable_clustering;
        self.raw_storage_endpoint |= later.raw_storage_endpoint;
        self.introspection_endpoint |= later.introspection_endpoint;
        self.enable_response_header_hostname |= later.enable_response_header_hostname;
    }
}

/// The files to read, each once even if it is given by itself and by its folder.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
    let mut seen = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        let read_error = |source| ConfigError::Read { path: path.clone(), source };
        let found = if fs::metadata(path).map_err(read_error)?.is_dir() {
            folder(path).map_err(read_error)?
        } else {
            vec![path.clone()]
        };
        for file in found {
            let canonical =
                fs::canonicalize(&file).map_err(|source| ConfigError::Read { path: file.clone(), source })?;
            if !seen.contains(&canonical) {
                seen.push(canonical);
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// The configuration files of a folder, by name; editors' temporary files are left out.
fn folder(path: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let is_config = path.extension().is_some_and(|ext| ext == "hcl" || ext == "json");
        let is_temporary = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".#"));
        if is_config && !is_temporary && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
