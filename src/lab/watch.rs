//! A service that ends while others still need it fails `up` at once, with what it said last.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::LabError;
use crate::provision::ProvisionError;
use crate::runtime::Runtime;

/// How long after a failure the news may take that a service ended, which is its reason.
pub(super) const NEWS: Duration = Duration::from_millis(500);

/// Does `work` on a service that runs. When it ends meanwhile, that is the failure.
pub(super) async fn while_it_runs<T>(
    runtime: &dyn Runtime,
    service: &str,
    work: impl Future<Output = Result<T, ProvisionError>>,
) -> Result<Result<T, ProvisionError>, LabError> {
    let mut end = std::pin::pin!(runtime.ended(service));
    tokio::select! {
        result = work => match result {
            Err(
                error @ (ProvisionError::Vault(_)
                | ProvisionError::On { .. }
                | ProvisionError::Credential { .. }),
            ) => {
                match tokio::time::timeout(NEWS, end).await {
                    Ok(ended) => Err(ended.into()),
                    Err(_) => Ok(Err(error)),
                }
            }
            result => Ok(result),
        },
        error = &mut end => Err(error.into()),
    }
}

/// Watches services from the moment they are ready.
pub(super) struct Watch<'a> {
    runtime: &'a dyn Runtime,
    begin: mpsc::UnboundedSender<String>,
    begun: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
}

impl<'a> Watch<'a> {
    pub fn new(runtime: &'a dyn Runtime) -> Self {
        let (begin, receiver) = mpsc::unbounded_channel();
        Self { runtime, begin, begun: receiver.into() }
    }

    /// Watches this service from now on.
    pub fn begin(&self, service: &str) {
        // The other end lives as long as this value.
        drop(self.begin.send(service.to_owned()));
    }

    /// Does `work`. When a service ends, that is the failure, whatever else came of it.
    pub async fn over<T>(&self, work: impl Future<Output = Result<T, LabError>>) -> Result<T, LabError> {
        let mut end = std::pin::pin!(self.first_end());
        tokio::select! {
            result = work => match result {
                Ok(value) => Ok(value),
                Err(error) => Err(tokio::time::timeout(NEWS, end).await.unwrap_or(error)),
            },
            error = &mut end => Err(error),
        }
    }

    async fn first_end(&self) -> LabError {
        let mut begun = self.begun.lock().await;
        let mut ends = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(service) = begun.recv() => {
                    ends.push(async move { self.runtime.ended(&service).await });
                }
                Some(error) = ends.next(), if !ends.is_empty() => return error.into(),
            }
        }
    }
}
