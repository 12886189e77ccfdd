//! Writes of many tasks gathered into few: a thread that takes everything queued since
//! its last write and hands it to a sink in one go.
//!
//! Blocking file work stays off the async runtime, and under load the cost of a write
//! (and of an fsync) is shared by everyone who waits for it.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// Where gathered items are written; owned by the writing thread.
pub(crate) trait Sink: Send + 'static {
    /// What is written.
    type Item: Send;
    /// Why writing an item failed.
    type Error: Send;

    /// How much an item counts towards [`Sink::GROUP_LIMIT`].
    fn weight(item: &Self::Item) -> usize;

    /// A group is closed once it weighs this much.
    const GROUP_LIMIT: usize;

    /// Writes all items, in order, and reports on each of them. Called without items
    /// when something [woke](Waker::wake) the thread.
    fn write(&mut self, items: Vec<Self::Item>) -> Vec<Result<(), Self::Error>>;

    /// Called once, after the last write, when the thread ends.
    fn close(&mut self) {}
}

enum Message<T, E> {
    Write(T, oneshot::Sender<Result<(), E>>),
    Wake,
    Stop,
}

/// The sending side: queues items and waits until they are written.
pub(crate) struct GroupCommit<T, E> {
    queue: Sender<Message<T, E>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Makes the thread call its sink although nothing is queued.
pub(crate) struct Waker<T, E>(Sender<Message<T, E>>);

impl<T, E> Clone for Waker<T, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, E> Waker<T, E> {
    pub(crate) fn wake(&self) {
        // A thread that has ended needs no waking.
        let _ = self.0.send(Message::Wake);
    }
}

/// The thread has ended; the item was not written.
#[derive(Debug)]
pub(crate) struct Closed;

impl<T: Send + 'static, E: Send + 'static> GroupCommit<T, E> {
    /// Starts the thread `name` that writes to the sink `make` builds.
    pub(crate) fn start<S>(name: &str, make: impl FnOnce(Waker<T, E>) -> S) -> Result<Self, io::Error>
    where
        S: Sink<Item = T, Error = E>,
    {
        let (queue, incoming) = channel();
        let mut sink = make(Waker(queue.clone()));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            run(&mut sink, &incoming);
            sink.close();
        })?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }

    /// Queues `item` and waits for the sink's verdict on it. Dropping the future does not
    /// take the item back.
    pub(crate) async fn write(&self, item: T) -> Result<Result<(), E>, Closed> {
        let (verdict, waiting) = oneshot::channel();
        self.queue.send(Message::Write(item, verdict)).map_err(|_| Closed)?;
        waiting.await.map_err(|_| Closed)
    }

    /// Writes what is queued, ends the thread and waits for it. Later writes are refused.
    pub(crate) fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a writing thread panicked");
        }
    }
}

impl<T, E> Drop for GroupCommit<T, E> {
    fn drop(&mut self) {
        let _ = self.queue.send(Message::Stop);
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // Joined so that files and locks are free when the owner is gone.
            let _ = thread.join();
        }
    }
}

fn run<S: Sink>(sink: &mut S, incoming: &Receiver<Message<S::Item, S::Error>>) {
    let mut stopping = false;
    while !stopping {
        let Ok(first) = incoming.recv() else { return };
        let mut items = Vec::new();
        let mut verdicts = Vec::new();
        let mut weight = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Write(item, verdict) => {
                    weight += S::weight(&item);
                    items.push(item);
                    verdicts.push(verdict);
                }
                Message::Wake => {}
                Message::Stop => stopping = true,
            }
            next = if stopping || weight >= S::GROUP_LIMIT { None } else { incoming.try_recv().ok() };
        }
        for (verdict, outcome) in verdicts.into_iter().zip(sink.write(items)) {
            // The waiting task may be gone; its write happened all the same.
            let _ = verdict.send(outcome);
        }
    }
}
