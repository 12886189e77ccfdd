//! Which program of this host would run a service.

use std::path::PathBuf;

use super::engine::DatabaseProgram;
use super::programs::Programs;
use crate::runtime::RuntimeError;
use crate::service::Service;

/// A program that can run a service.
#[derive(Debug, Clone)]
pub struct FoundProgram {
    /// Name and version, as in `PostgreSQL 15.10`.
    pub product: String,
    /// The program.
    pub path: PathBuf,
}

impl Programs {
    /// The program that would run `service`.
    ///
    /// # Errors
    /// [`RuntimeError::ProgramMissing`] and [`RuntimeError::ProgramUnusable`] say what to do.
    pub async fn find(&self, service: &Service) -> Result<FoundProgram, RuntimeError> {
        match service {
            Service::Vault(spec) => {
                let program = self.vault(service.name(), spec).await?;
                Ok(FoundProgram { product: super::vault::product(&program), path: program.program })
            }
            Service::Database(spec) => {
                let program = DatabaseProgram::find(self, spec).await?;
                Ok(FoundProgram { product: program.product(), path: program.path().into() })
            }
        }
    }
}
