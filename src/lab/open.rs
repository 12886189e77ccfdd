//! Which lab is meant, and how it is to be worked on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{KeeperChoice, LabError};
use crate::report::Report;
use crate::runtime::Runtime;
use crate::runtime::docker::PullPolicy;
use crate::service::Service;
use crate::spec::LabSpec;
use crate::spec::model::{Flavour, Origin, RuntimeChoice, Storage, VaultSpec};
use crate::state::{Home, KeyStore, LabDir, Manifest, Unlock};

/// How a lab is found and worked on. The default is what `vaultlab` without options does.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// The lab file; without one `vaultlab.yaml` and `lab/vaultlab.yaml` are looked for, then the
    /// lab inside the program is used.
    pub file: Option<PathBuf>,
    /// The lab's name, instead of the one in its file.
    pub name: Option<String>,
    /// Where labs are kept, instead of `$VAULTLAB_HOME` or the XDG state folder.
    pub home: Option<PathBuf>,
    /// Where services run, instead of what the lab file says.
    pub runtime: Option<RuntimeChoice>,
    /// The `vaultlab` program that serves the embedded server; by default this program.
    pub program: Option<PathBuf>,
    /// Whether container images are pulled. When nothing is said, images that are missing are pulled
    /// for a lab that is to be in containers, and none for one that may be anywhere.
    pub pull: Option<PullPolicy>,
    /// How long `up` may take; by default [`LabOptions::DEFAULT_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// Whether `up` leaves a keeper behind.
    pub keeper: KeeperChoice,
    /// Whether everything is left as it is when `up` fails.
    pub retain: bool,
    /// How an encrypted key store is opened; by default with what the environment has.
    pub unlock: Unlock,
    /// Whether a lab whose file is gone or wrong is opened all the same, by what is known of it: to
    /// look at it and to stop it, not to bring it up.
    pub tolerant: bool,
}

impl LabOptions {
    /// How long `up` may take unless told otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
}

/// A lab as described, running or not.
#[derive(Clone)]
pub struct Lab {
    pub(super) spec: Arc<LabSpec>,
    pub(super) dir: LabDir,
    pub(super) home: Home,
    pub(super) options: LabOptions,
    pub(super) report: Report,
    /// Why the lab file cannot be used, for a lab that is opened all the same.
    pub(super) problem: Option<String>,
}

impl Lab {
    /// The lab of a lab file.
    pub fn open(file: impl AsRef<Path>) -> Result<Self, LabError> {
        Self::with(LabOptions { file: Some(file.as_ref().into()), ..LabOptions::default() }, Report::silent())
    }

    /// The lab these options mean; what happens to it is told to `report`.
    pub fn with(options: LabOptions, report: Report) -> Result<Self, LabError> {
        crate::install_crypto_provider();
        let home = match &options.home {
            Some(path) => Home::at(path)?,
            None => Home::discover()?,
        };
        let (mut spec, problem) = find_spec(&options, &home)?;
        if let Some(name) = &options.name {
            spec.name.clone_from(name);
        }
        if let Some(runtime) = options.runtime {
            spec.runtime = runtime;
            spec.runtimes.clear();
        }
        let dir = home.lab(&spec.name)?;
        if let Some(problem) = &problem {
            report.warn(format!("{problem}; going by what is known of the lab"));
        }
        Ok(Self { spec: Arc::new(spec), dir, home, options, report, problem })
    }

    /// The same lab under another name: with services, keys and data of its own.
    pub fn named(&self, name: &str) -> Result<Self, LabError> {
        let mut spec = LabSpec::clone(&self.spec);
        name.clone_into(&mut spec.name);
        Ok(Self { dir: self.home.lab(name)?, spec: Arc::new(spec), ..self.clone() })
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What the lab file says.
    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// Where the lab is kept.
    pub fn dir(&self) -> &LabDir {
        &self.dir
    }

    /// Where what happens is told.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The unseal keys, kept as the lab file says.
    pub(crate) fn key_store(&self) -> KeyStore {
        KeyStore::of(&self.dir)
            .protected(self.spec.vault.key_store.clone())
            .unlocked_by(self.options.unlock.clone())
    }

    pub(super) fn timeout(&self) -> Duration {
        self.options.timeout.unwrap_or(LabOptions::DEFAULT_TIMEOUT)
    }

    /// The services the lab file declares, Vault first.
    pub(super) fn services(&self) -> Vec<Service> {
        services(&self.spec)
    }

    pub(super) async fn runtime(&self) -> Result<Arc<dyn Runtime>, LabError> {
        super::runtimes::existing(&self.home, &self.dir, &self.spec, &self.options).await
    }
}

/// The lab file named; else, for a lab that exists under the name asked for, the one it was made
/// from; else the one of this folder; else the lab inside the program. With it, what is wrong with the file
/// of a lab that is opened all the same.
fn find_spec(options: &LabOptions, home: &Home) -> Result<(LabSpec, Option<String>), LabError> {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let (spec, name) = match (&options.file, &options.name) {
        (None, Some(name)) => match Manifest::load(&home.lab(name)?) {
            Ok(Some(Manifest { lab_file: Some(file), .. })) => (LabSpec::load(&file), Some(name.clone())),
            Ok(Some(Manifest { lab_file: None, .. })) => (LabSpec::builtin(), Some(name.clone())),
            Ok(None) => (LabSpec::discover(None, &here), Some(name.clone())),
            // To stop a lab, its name is enough.
            Err(error) if options.tolerant => {
                return Ok((known_by_name(home, name), Some(error.to_string())));
            }
            Err(error) => return Err(error.into()),
        },
        (file, name) => (LabSpec::discover(file.as_deref(), &here), name.clone()),
    };
    match spec {
        Ok(spec) => Ok((spec, None)),
        Err(error) if options.tolerant => {
            let name = name.or_else(|| made_from(home, options.file.as_deref(), &here));
            let known = name.map(|name| (known_by_name(home, &name), Some(error.in_brief())));
            known.ok_or_else(|| error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The lab that was made from this file, which is wrong now.
fn made_from(home: &Home, file: Option<&Path>, here: &Path) -> Option<String> {
    let candidates = match file {
        Some(file) => vec![here.join(file)],
        None => vec![here.join("vaultlab.yaml"), here.join("lab/vaultlab.yaml")],
    };
    let candidates: Vec<PathBuf> = candidates.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let labs = home.labs().ok()?;
    let of_file = |dir: &&LabDir| {
        let file = Manifest::load(dir).ok().flatten().and_then(|manifest| manifest.lab_file);
        file.is_some_and(|file| candidates.contains(&file))
    };
    labs.iter().find(of_file).map(|dir| dir.name().to_owned())
}

/// A lab of which no more is known than its name and what it was made from.
fn known_by_name(home: &Home, name: &str) -> LabSpec {
    let manifest = home.lab(name).and_then(|dir| Manifest::load(&dir)).ok().flatten();
    let file = manifest.and_then(|manifest| manifest.lab_file);
    LabSpec {
        name: name.into(),
        runtime: RuntimeChoice::Auto,
        runtimes: BTreeMap::new(),
        vault: VaultSpec {
            flavour: Flavour::Auto,
            version: None,
            image: None,
            storage: Storage::File,
            key_shares: 1,
            key_threshold: 1,
            audit: None,
            keep_root_token: false,
            key_store: crate::state::Protection::Plain,
            port: None,
        },
        databases: Vec::new(),
        policies: Vec::new(),
        approles: Vec::new(),
        keeper: true,
        origin: file.map_or(Origin::BuiltIn, Origin::File),
    }
}

impl Lab {
    /// The file the lab comes from; `None` for the one inside the program.
    pub fn file(&self) -> Option<&Path> {
        file(&self.spec)
    }
}

/// The file a description comes from.
pub(super) fn file(spec: &LabSpec) -> Option<&Path> {
    match &spec.origin {
        Origin::File(path) => Some(path),
        Origin::BuiltIn => None,
    }
}

/// The services of a description, Vault first.
pub(super) fn services(spec: &LabSpec) -> Vec<Service> {
    let databases = spec.databases.iter().cloned().map(Service::Database);
    std::iter::once(Service::Vault(spec.vault.clone())).chain(databases).collect()
}
