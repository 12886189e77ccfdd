//! `prune`: what no lab uses, and what labs that are gone left behind.

use std::collections::BTreeSet;

use serde::Serialize;

use super::LabError;
use crate::runtime::docker::{DockerError, Engine};
use crate::runtime::{Leftover, LeftoverKind, RuntimeError, process};
use crate::state::{Home, Manifest, TemplateUse};

/// What `prune` removes, or would.
#[derive(Debug, Clone, Serialize)]
pub struct Pruned {
    /// Everything that nobody misses.
    pub items: Vec<PrunedItem>,
    /// Bytes on disk of all of it, as far as they are known.
    pub bytes: u64,
    /// Whether it was removed.
    pub removed: bool,
    /// Why the container engine was not looked at; `None` when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_skipped: Option<String>,
}

/// One thing.
#[derive(Debug, Clone, Serialize)]
pub struct PrunedItem {
    /// `template`, `build`, `removal`, `container`, `volume` or `network`.
    pub kind: LeftoverKind,
    /// `process` or `docker`.
    pub runtime: &'static str,
    /// Its name.
    pub name: String,
    /// Bytes on disk; `None` where that cannot be told.
    pub bytes: Option<u64>,
}

/// What can be removed, found and not removed yet. While it lives, no lab can be brought up, so
/// that nothing of it comes into use.
#[derive(Debug)]
pub struct Prune {
    folders: Vec<Leftover>,
    engine: Result<(Engine, Vec<Leftover>), String>,
    _alone: TemplateUse,
}

impl Prune {
    /// Looks for what nobody misses in a home and in the container engine.
    ///
    /// Labs that have a folder keep everything, running or not: their data, and the templates they
    /// were made from.
    ///
    /// # Errors
    /// When a lab is being brought up, and when a lab cannot be read: what it uses is not known then.
    pub async fn look(home: &Home) -> Result<Self, LabError> {
        let alone = TemplateUse::alone(home)?;
        let mut used = BTreeSet::new();
        for dir in home.labs()? {
            let services = Manifest::load(&dir)?.map(|manifest| manifest.services).unwrap_or_default();
            used.extend(services.into_values().filter_map(|record| record.template));
        }
        let folders = process::leftovers(home, &used)?;
        let is_gone = |lab: &str| home.lab(lab).and_then(|dir| dir.try_exists()).is_ok_and(|exists| !exists);
        let engine = match Engine::connect().await {
            Ok(engine) => {
                let found = engine.leftovers(home, &used, is_gone).await?;
                Ok((engine, found))
            }
            Err(error @ DockerError::Unreachable { .. }) => Err(error.unasked()),
            Err(error) => return Err(RuntimeError::from(error).into()),
        };
        Ok(Self { folders, engine, _alone: alone })
    }

    /// What was found.
    pub fn found(&self) -> Pruned {
        let item = |runtime: &'static str| {
            move |leftover: &Leftover| PrunedItem {
                kind: leftover.kind,
                runtime,
                name: leftover.name.clone(),
                bytes: leftover.bytes,
            }
        };
        let contained = self.engine.iter().flat_map(|(_, found)| found).map(item("docker"));
        let items: Vec<_> = self.folders.iter().map(item("process")).chain(contained).collect();
        Pruned {
            bytes: items.iter().filter_map(|item| item.bytes).sum(),
            items,
            removed: false,
            engine_skipped: self.engine.as_ref().err().cloned(),
        }
    }

    /// Removes what was found.
    ///
    /// # Errors
    /// At the first thing that cannot be removed; the rest stays.
    pub async fn remove(self) -> Result<Pruned, LabError> {
        let found = self.found();
        for leftover in &self.folders {
            process::remove_leftover(leftover)?;
        }
        if let Ok((engine, leftovers)) = &self.engine {
            for leftover in leftovers {
                engine.remove_leftover(leftover).await?;
            }
        }
        Ok(Pruned { removed: true, ..found })
    }
}
