//! The key-value secrets engine, version 1 (plain values) and version 2 (versioned values).

mod v1;
mod v2;

use std::sync::Arc;

pub use self::v1::KvV1;
pub use self::v2::KvV2;
#[cfg(test)]
pub(crate) use self::v2::reference;
use crate::logical::{Backend, BackendContext, Error, View};

/// Makes the backend of a mount, for [`crate::logical::Factory`]: version 2 where the mount's
/// option `version` says so, else version 1.
///
/// # Errors
/// For any other version, with Vault's text.
pub fn factory(context: BackendContext) -> Result<Arc<dyn Backend>, Error> {
    let version = context.mount.options.get("version");
    let version = version.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    match version.as_deref() {
        None | Some("" | "1") => Ok(Arc::new(KvV1::new(context))),
        Some("2") => Ok(Arc::new(KvV2::new(context))),
        Some(other) => Err(Error::bad_request(format!("kv version {other} is not supported"))),
    }
}

/// Where version 1 keeps its values; version 2 takes them over from there.
fn plain_values(storage: &View) -> View {
    storage.sub("plain/")
}

/// Refuses paths that climb, as Vault's storage does.
fn check_path(path: &str) -> Result<(), Error> {
    if path.split('/').any(|segment| segment == "..") {
        return Err(Error::coded(400, "1 error occurred:\n\t* relative paths not supported\n\n"));
    }
    Ok(())
}
