//! Vault, wherever it runs: its server configuration, in the syntax all flavours share.

use crate::spec::model::{Flavour, Storage, VaultSpec};

/// The places a configuration speaks of, as *the service* sees them.
#[derive(Debug, Clone)]
pub struct Places<'a> {
    /// Address and port to listen on.
    pub listen: &'a str,
    /// Address and port at which others reach it.
    pub reachable_at: &'a str,
    /// Address and port for integrated storage's own traffic.
    pub cluster: &'a str,
    /// Folder for its data.
    pub data: &'a str,
}

/// The storage that this flavour and version really gets: OpenBao 2.7 and later have no file storage,
/// so integrated storage takes its place.
pub fn storage(spec: &VaultSpec, flavour: Flavour, version: &str) -> Storage {
    let newer_than_file = |version: &str| {
        let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (2, 7)
    };
    match (spec.storage, flavour) {
        (Storage::File, Flavour::OpenBao) if newer_than_file(version) => Storage::Raft,
        (storage, _) => storage,
    }
}

/// What is to be told of a storage that is less than its name says.
pub fn remark(spec: &VaultSpec, flavour: Flavour) -> Option<&'static str> {
    let alone = spec.storage == Storage::Raft && flavour == Flavour::Embedded;
    alone.then_some("the embedded server keeps storage raft as a single node, in files: there is no cluster")
}

/// The text of a server configuration file (HCL).
pub fn config(spec: &VaultSpec, flavour: Flavour, version: &str, places: &Places<'_>) -> String {
    let data = quote(places.data);
    let storage = match storage(spec, flavour, version) {
        Storage::File => format!("storage \"file\" {{\n  path = {data}\n}}\n"),
        // One node elects itself: Vault's patience with slow networks makes that 15 s instead of 5.
        Storage::Raft => format!(
            "storage \"raft\" {{\n  path = {data}\n  node_id = \"vaultlab\"\n  performance_multiplier = 1\n}}\n"
        ),
        Storage::Inmem => "storage \"inmem\" {\n}\n".to_owned(),
    };
    let root_generation = match flavour {
        // Off by default since 2.5.3; `up` gets its root token there.
        Flavour::OpenBao => "  disable_unauthed_generate_root_endpoints = false\n",
        _ => "",
    };
    let mut text = format!(
        "listener \"tcp\" {{\n  address = {}\n  tls_disable = true\n{root_generation}}}\n\n{storage}\n\
         api_addr = {}\ncluster_addr = {}\ndisable_mlock = true\nui = false\n",
        quote(places.listen),
        quote(&format!("http://{}", places.reachable_at)),
        quote(&format!("http://{}", places.cluster)),
    );
    if spec.audit.is_some() && flavour == Flavour::OpenBao {
        // Since 2.3.2 OpenBao refuses audit devices made through the API, as provisioning makes
        // this one on every flavour.
        text.push_str("unsafe_allow_api_audit_creation = true\n");
    }
    text
}

/// An HCL string.
fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "$${");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::model::AuditSpec;

    fn spec(storage: Storage) -> VaultSpec {
        VaultSpec {
            flavour: Flavour::Auto,
            version: None,
            image: None,
            storage,
            key_shares: 1,
            key_threshold: 1,
            audit: Some(AuditSpec { path: "file".into(), file: "audit.log".into() }),
            keep_root_token: false,
            key_store: crate::state::Protection::Plain,
            port: None,
        }
    }

    const PLACES: Places<'_> = Places {
        listen: "127.0.0.1:8200",
        reachable_at: "127.0.0.1:8200",
        cluster: "127.0.0.1:8201",
        data: "/a \"b\"/data",
    };

    #[test]
    fn paths_are_quoted_and_storage_follows_the_flavour() {
        let text = config(&spec(Storage::File), Flavour::Vault, "1.20.0", &PLACES);
        assert!(text.contains("storage \"file\" {\n  path = \"/a \\\"b\\\"/data\"\n}"), "{text}");
        assert!(!text.contains("unsafe_allow"));
        let bao = config(&spec(Storage::File), Flavour::OpenBao, "2.7.0", &PLACES);
        assert!(bao.contains("storage \"raft\"") && bao.contains("unsafe_allow_api_audit_creation = true"));
        assert!(bao.contains("performance_multiplier = 1"));
        assert!(bao.contains("disable_unauthed_generate_root_endpoints = false"));
        assert_eq!(storage(&spec(Storage::File), Flavour::OpenBao, "2.6.1"), Storage::File);
        assert_eq!(storage(&spec(Storage::Raft), Flavour::Embedded, "0.1.0"), Storage::Raft);
        assert!(remark(&spec(Storage::Raft), Flavour::Embedded).is_some());
        assert_eq!(remark(&spec(Storage::Raft), Flavour::Vault), None);
        assert!(config(&spec(Storage::Inmem), Flavour::Embedded, "", &PLACES).contains("storage \"inmem\""));
    }
}
