//! Data that is there and not of what the lab file says now.

use super::{Lab, LabError};
use crate::runtime::{Runtime, kept};
use crate::state::Manifest;

impl Lab {
    /// Refuses it before anything is started or written.
    pub(super) async fn refuse_other_data(&self, runtime: &dyn Runtime) -> Result<(), LabError> {
        let Some(manifest) = Manifest::load(&self.dir)? else { return Ok(()) };
        for spec in &self.spec.databases {
            let Some(record) = manifest.services.get(&spec.name) else { continue };
            // A record may outlive its data.
            if let Err(error) = kept::check(spec, record)
                && runtime.has_data(&spec.name).await?
            {
                return Err(error.into());
            }
        }
        Ok(())
    }
}
