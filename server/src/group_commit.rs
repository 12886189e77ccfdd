//! Writes of many tasks gathered into few: a thread that takes everything queued since
//! its last write and hands it to a sink in one go.
//!
//! Blocking file work stays off the async runtime, and under load the cost of a write
//! (and of an fsync) is shared by everyone who waits for it. Only what a sink writes in less time than
//! it takes to wake a thread, and while nobody else is writing, is written where it comes from.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
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

    /// Writes one item on the thread of an async task, where that takes next to no time and never
    /// waits for a disk; else gives it back.
    fn write_here(&mut self, item: Self::Item) -> Result<Result<(), Self::Error>, Self::Item> {
        Err(item)
    }

    /// Called once, after the last write, when the thread ends.
    fn close(&mut self) {}
}

enum Message<T, E> {
    Write(T, oneshot::Sender<Result<(), E>>),
    Wake,
    Stop,
}

/// The sending side: queues items and waits until they are written.
pub(crate) struct GroupCommit<S: Sink> {
    queue: Queue<S::Item, S::Error>,
    /// `None` once the thread has ended.
    sink: Arc<Mutex<Option<S>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The way to the thread.
struct Queue<T, E> {
    messages: Sender<Message<T, E>>,
    /// Messages the thread is not done with: what comes later must not overtake them.
    waiting: Arc<AtomicUsize>,
}

impl<T, E> Clone for Queue<T, E> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), waiting: Arc::clone(&self.waiting) }
    }
}

impl<T, E> Queue<T, E> {
    fn send(&self, message: Message<T, E>) -> Result<(), Closed> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.messages.send(message).map_err(|_| Closed)
    }
}

/// Makes the thread call its sink although nothing is queued.
pub(crate) struct Waker<T, E>(Queue<T, E>);

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

impl<S: Sink> GroupCommit<S> {
    /// Starts the thread `name` that writes to the sink `make` builds.
    pub(crate) fn start(
        name: &str,
        make: impl FnOnce(Waker<S::Item, S::Error>) -> S,
    ) -> Result<Self, io::Error>
    where
        S::Error: 'static,
        S::Item: 'static,
    {
        let (messages, incoming) = channel();
        let queue = Queue { messages, waiting: Arc::default() };
        let sink = Arc::new(Mutex::new(Some(make(Waker(queue.clone())))));
        let (shared, waiting) = (Arc::clone(&sink), Arc::clone(&queue.waiting));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            run(&shared, &incoming, &waiting);
            // Taken out first: closing may take long, and nobody who comes now has to wait for it.
            let last = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(mut sink) = last {
                sink.close();
            }
        })?;
        Ok(Self { queue, sink, thread: Mutex::new(Some(thread)) })
    }

    /// Writes `item`, or queues it and waits for the sink's verdict on it. Dropping the future does
    /// not take the item back.
    pub(crate) async fn write(&self, item: S::Item) -> Result<Result<(), S::Error>, Closed> {
        let item = match self.write_here(item) {
            Ok(outcome) => return Ok(outcome),
            Err(item) => item,
        };
        let (verdict, waiting) = oneshot::channel();
        self.queue.send(Message::Write(item, verdict))?;
        waiting.await.map_err(|_| Closed)
    }

    /// Writes `item` now, unless that would mean to wait or to overtake somebody.
    fn write_here(&self, item: S::Item) -> Result<Result<(), S::Error>, S::Item> {
        let Ok(mut sink) = self.sink.try_lock() else {
            return Err(item);
        };
        match &mut *sink {
            Some(sink) if self.queue.waiting.load(Ordering::SeqCst) == 0 => sink.write_here(item),
            _ => Err(item),
        }
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

impl<S: Sink> Drop for GroupCommit<S> {
    fn drop(&mut self) {
        let _ = self.queue.send(Message::Stop);
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // Joined so that files and locks are free when the owner is gone.
            let _ = thread.join();
        }
    }
}

fn run<S: Sink>(
    shared: &Mutex<Option<S>>,
    incoming: &Receiver<Message<S::Item, S::Error>>,
    waiting: &AtomicUsize,
) {
    let mut stopping = false;
    while !stopping {
        let Ok(first) = incoming.recv() else { return };
        let mut items = Vec::new();
        let mut verdicts = Vec::new();
        let mut weight = 0;
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            taken += 1;
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
        // A sink that panicked elsewhere may have written anything.
        let Ok(mut sink) = shared.lock() else { return };
        let Some(outcomes) = sink.as_mut().map(|sink| sink.write(items)) else { return };
        waiting.fetch_sub(taken, Ordering::SeqCst);
        // Those who are told are to find nobody writing.
        drop(sink);
        for (verdict, outcome) in verdicts.into_iter().zip(outcomes) {
            // The waiting task may be gone; its write happened all the same.
            let _ = verdict.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Keeps what it is given with the name of the thread that wrote it; even numbers it writes anywhere.
    struct Numbers {
        written: Arc<Mutex<Vec<(u32, String)>>>,
        /// Held to make the thread wait in the middle of a write.
        gate: Arc<Mutex<()>>,
    }

    impl Numbers {
        fn keep(&self, number: u32) {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            self.written.lock().unwrap().push((number, thread));
        }
    }

    impl Sink for Numbers {
        type Item = u32;
        type Error = ();

        const GROUP_LIMIT: usize = 1;

        fn weight(_: &u32) -> usize {
            1
        }

        fn write(&mut self, items: Vec<u32>) -> Vec<Result<(), ()>> {
            let _gate = self.gate.lock().unwrap();
            let keep = |item| {
                self.keep(item);
                Ok(())
            };
            items.into_iter().map(keep).collect()
        }

        fn write_here(&mut self, item: u32) -> Result<Result<(), ()>, u32> {
            if item % 2 == 1 {
                return Err(item);
            }
            self.keep(item);
            Ok(Ok(()))
        }
    }

    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "only the thread that writes waits for it")]
    async fn what_is_quick_is_written_at_once_but_overtakes_nobody() {
        let (written, gate) = (Arc::default(), Arc::new(Mutex::new(())));
        let numbers = Numbers { written: Arc::clone(&written), gate: Arc::clone(&gate) };
        let commit = Arc::new(GroupCommit::start("the-thread", |_| numbers).unwrap());
        commit.write(2).await.unwrap().unwrap();
        commit.write(3).await.unwrap().unwrap();
        let closed = gate.lock().unwrap();
        let queued = [5, 6].map(|number| {
            let commit = Arc::clone(&commit);
            tokio::spawn(async move { commit.write(number).await.unwrap() })
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(written.lock().unwrap().len(), 2, "it waits for the thread");
        drop(closed);
        for task in queued {
            task.await.unwrap().unwrap();
        }
        commit.write(8).await.unwrap().unwrap();
        let written = written.lock().unwrap().clone();
        let by_thread = |number| (number, written.iter().any(|w| *w == (number, "the-thread".to_owned())));
        assert_eq!(written.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 5, 6, 8]);
        assert_eq!([2, 3, 5, 6, 8].map(by_thread), [(2, false), (3, true), (5, true), (6, true), (8, false)]);
    }

    #[tokio::test]
    async fn nothing_is_written_after_the_end() {
        let numbers = Numbers { written: Arc::default(), gate: Arc::default() };
        let commit = GroupCommit::start("the-thread", |_| numbers).unwrap();
        commit.stop();
        for number in [1, 2] {
            assert!(commit.write(number).await.is_err());
        }
    }
}
