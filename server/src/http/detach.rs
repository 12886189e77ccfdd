//! Requests that outlive their connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Goes on in a task of its own when it is dropped unfinished: a client that goes away must not stop
/// a request half-way, with a user made in a database and no lease for it.
pub struct Finished<F>(Option<F>)
where
    F: Future<Output: Send> + Send + Unpin + 'static;

impl<F> Finished<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    /// A future that will be finished.
    pub fn new(future: F) -> Self {
        Self(Some(future))
    }
}

impl<F> Future for Finished<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.0 else {
            return Poll::Pending;
        };
        let outcome = Pin::new(future).poll(context);
        if outcome.is_ready() {
            self.0 = None;
        }
        outcome
    }
}

impl<F> Drop for Finished<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        // Without a runtime there is nobody left who could finish it.
        if let Some(future) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(future);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use tokio::sync::{mpsc, oneshot};

    #[tokio::test]
    async fn what_is_dropped_half_way_is_finished_all_the_same() {
        let (go, wait) = oneshot::channel::<()>();
        let (done, mut finished) = mpsc::unbounded_channel();
        let work = Box::pin(async move {
            done.send("begun").unwrap();
            let _ = wait.await;
            done.send("finished").unwrap();
        });
        let dropped = tokio::time::timeout(Duration::from_millis(10), Finished::new(work)).await;
        assert!(dropped.is_err());
        assert_eq!(finished.recv().await, Some("begun"));
        go.send(()).unwrap();
        assert_eq!(finished.recv().await, Some("finished"));
        assert_eq!(finished.recv().await, None);
    }

    #[tokio::test]
    async fn what_is_finished_is_not_done_again() {
        let (done, mut finished) = mpsc::unbounded_channel();
        let work = Box::pin(async move { done.send(1).unwrap() });
        Finished::new(work).await;
        assert_eq!((finished.recv().await, finished.recv().await), (Some(1), None));
    }
}
