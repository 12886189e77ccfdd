//! Names and labels of what a lab has in the engine. Only labels are searched for; names are for
//! people who look.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::state::{Home, LabDir};

/// Label with the lab's name, on everything.
pub(super) const LAB: &str = "dev.vaultlab.lab";
/// Label with the service's name, on containers and volumes.
pub(super) const SERVICE: &str = "dev.vaultlab.service";
/// Label with the digest of what a container was made from.
pub(super) const SPEC_HASH: &str = "dev.vaultlab.spec-hash";
/// Label that tells the homes (`VAULTLAB_HOME`) apart: two of them may hold labs of one name.
pub(super) const HOME: &str = "dev.vaultlab.home";
/// Label with the key of a template, on images.
pub(super) const TEMPLATE: &str = "dev.vaultlab.template";
/// Label with the kind of a service (`vault`, `postgres`, `mysql`), on containers.
pub(super) const KIND: &str = "dev.vaultlab.kind";
/// Label with what the data was made from, on volumes.
pub(super) const MADE_FROM: &str = "dev.vaultlab.made-from";

pub(super) type Filters = HashMap<&'static str, Vec<String>>;
pub(super) type Labels = HashMap<String, String>;

/// Whether labels are all that a filter asks for. Engines are asked with the filter, and what they give is
/// looked at again: Podman gives volumes and images that have any one of several labels.
pub(super) fn has_all(labels: &Labels, filters: &Filters) -> bool {
    filters.get("label").into_iter().flatten().all(|wanted| match wanted.split_once('=') {
        Some((label, value)) => labels.get(label).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    })
}

/// The names of one lab's things.
#[derive(Debug, Clone)]
pub(super) struct Names {
    lab: String,
    home: String,
}

impl Names {
    pub fn of(home: &Home, lab: &LabDir) -> Self {
        Self { lab: lab.name().into(), home: home_id(home) }
    }

    pub fn network(&self) -> String {
        format!("vaultlab-{}-{}", self.lab, self.home)
    }

    pub fn container(&self, service: &str) -> String {
        format!("vaultlab-{}-{service}-{}", self.lab, self.home)
    }

    /// The volume of a service for `what`: `data` or `logs`.
    pub fn volume(&self, service: &str, what: &str) -> String {
        format!("vaultlab-{}-{service}-{what}-{}", self.lab, self.home)
    }

    pub fn labels(&self, service: Option<&str>) -> Labels {
        let mut labels: Labels = [(LAB, &self.lab), (HOME, &self.home)]
            .map(|(label, value)| (label.to_owned(), value.clone()))
            .into();
        labels.extend(service.map(|service| (SERVICE.to_owned(), service.to_owned())));
        labels
    }

    /// What finds the lab's things, or one service's.
    pub fn filters(&self, service: Option<&str>) -> Filters {
        HashMap::from([(
            "label",
            self.labels(service).into_iter().map(|(k, v)| format!("{k}={v}")).collect(),
        )])
    }
}

/// Eight digits that stand for a home.
pub(super) fn home_id(home: &Home) -> String {
    digest([home.root().as_os_str().as_encoded_bytes()]).chars().take(8).collect()
}

/// A digest over parts, in hexadecimal; where one part ends and the next begins matters.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labs_of_one_name_in_two_homes_share_nothing() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [a, b] = dirs.each_ref().map(|dir| {
            let home = Home::at(dir.path()).unwrap();
            Names::of(&home, &home.lab("notes").unwrap())
        });
        assert_ne!(a.container("vault"), b.container("vault"));
        assert_ne!(a.network(), b.network());
        assert_ne!(a.volume("db", "data"), b.volume("db", "data"));
        let filters = a.filters(Some("db"));
        assert!(filters["label"].contains(&"dev.vaultlab.lab=notes".to_owned()));
        assert!(filters["label"].contains(&"dev.vaultlab.service=db".to_owned()));
        assert_eq!(filters["label"].len(), 3);
    }

    #[test]
    fn a_filter_asks_for_all_of_its_labels() {
        let labels = Labels::from([(LAB.into(), "a".into()), (SERVICE.into(), "db".into())]);
        let asks = |wanted: &[&str]| {
            has_all(&labels, &Filters::from([("label", wanted.iter().map(ToString::to_string).collect())]))
        };
        assert!(asks(&[]) && asks(&[LAB]) && asks(&["dev.vaultlab.lab=a", "dev.vaultlab.service=db"]));
        assert!(!asks(&["dev.vaultlab.lab=b", "dev.vaultlab.service=db"]) && !asks(&[LAB, HOME]));
        assert!(!asks(&["dev.vaultlab.lab="]));
    }

    #[test]
    fn digests_know_where_a_part_ends() {
        assert_ne!(digest([b"ab".as_slice(), b"c"]), digest([b"a".as_slice(), b"bc"]));
        assert_eq!(digest([b"a".as_slice()]).len(), 16);
    }
}
