//! What the services wrote.

use super::{Lab, LabError};
use crate::runtime::{LogLines, RuntimeError};

impl Lab {
    /// The last `tail` lines (all for `None`) of these services, all of them when none is named,
    /// each with its name; with `follow` also every new line.
    pub async fn logs(
        &self,
        services: &[String],
        tail: Option<usize>,
        follow: bool,
    ) -> Result<Vec<(String, LogLines)>, LabError> {
        // A lab whose state is lost has its services' folders all the same.
        let folders = self.dir.service_names()?;
        if !self.dir.manifest().exists() && folders.is_empty() {
            return Err(LabError::NotRunning { lab: self.name().into(), detail: String::new() });
        }
        let runtime = self.runtime().await?;
        let mut named = services.to_vec();
        if named.is_empty() {
            named.extend(self.services().iter().map(|service| service.name().to_owned()));
            named
                .extend(folders.iter().filter(|folder| !named.contains(folder)).cloned().collect::<Vec<_>>());
        }
        let mut logs = Vec::new();
        for name in named {
            match runtime.logs(&name, tail, follow).await {
                Ok(lines) => logs.push((name, lines)),
                // One that never started has none; one that is asked for by name must have.
                Err(RuntimeError::NoSuchService { .. }) if services.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(logs)
    }
}
