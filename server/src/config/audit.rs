//! `audit "file" "path" { … }`: audit devices declared as in OpenBao.

use std::collections::BTreeMap;

use super::error::{Fault, Warnings};
use super::values;
use crate::hcl::Item;

/// An audit device that exists from the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditDevice {
    /// The type: `file`.
    pub kind: String,
    /// Where it is mounted, without a slash at the end.
    pub path: String,
    /// Free text.
    pub description: String,
    /// The type's options, such as `file_path`.
    pub options: BTreeMap<String, String>,
    /// Whether it belongs to this node only.
    pub local: bool,
}

/// Reads an `audit` stanza; type and path are its labels, or attributes.
pub(super) fn read(item: &Item, warnings: &mut Warnings) -> Result<AuditDevice, Fault> {
    let mut device = AuditDevice::default();
    if let [kind, path] = item.labels() {
        kind.name.clone_into(&mut device.kind);
        path.name.clone_into(&mut device.path);
    }
    for item in &values::block(item)?.items {
        match item.name() {
            "type" => device.kind = values::string(item)?,
            "path" => device.path = values::string(item)?,
            "description" => device.description = values::string(item)?,
            "local" => device.local = values::boolean(item)?,
            "options" => device.options.extend(values::options(values::block(item)?)),
            _ => warnings.unknown(item),
        }
    }
    device.path.truncate(device.path.trim_end_matches('/').len());
    for (name, value) in [("type", &device.kind), ("path", &device.path)] {
        if value.is_empty() {
            return Err(Fault::new(
                item.key_span(),
                format!("audit {name} must be specified: audit \"TYPE\" \"PATH\" {{ … }}"),
            ));
        }
    }
    Ok(device)
}
