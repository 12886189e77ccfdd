//! What the services wrote.

use super::{Lab, LabError};
use crate::runtime::LogLines;

impl Lab {
    /// The last `tail` lines (all for `None`) of these services, all of them when none is named,
    /// each with its name; with `follow` also every new line.
    pub async fn logs(
        &self,
        services: &[String],
        tail: Option<usize>,
        follow: bool,
    ) -> Result<Vec<(String, LogLines)>, LabError> {
        if !self.dir.manifest().exists() {
            return Err(LabError::NotRunning { lab: self.name().into(), detail: String::new() });
        }
        let runtime = self.runtime().await?;
        let named: Vec<String> = if services.is_empty() {
            self.services().iter().map(|service| service.name().to_owned()).collect()
        } else {
            services.to_vec()
        };
        let mut logs = Vec::new();
        for name in named {
            let lines = runtime.logs(&name, tail, follow).await?;
            logs.push((name, lines));
        }
        Ok(logs)
    }
}
