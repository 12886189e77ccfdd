//! How long a connection may say nothing: a stream that ends where Vault's server would end it.
//!
//! hyper has one time limit for both a request's headers and the wait for the next request; Vault has
//! ten seconds for the one and five minutes for the other.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a client must send or take within which time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The headers of a request, from their first byte on; of the first request, from the
    /// connection's start.
    pub head: Duration,
    /// The next request.
    pub idle: Duration,
    /// Some part of an answer; none waits for ever.
    pub write: Option<Duration>,
}

/// The requests of one connection.
#[derive(Debug, Default)]
pub struct Requests {
    begun: AtomicUsize,
    under_way: AtomicUsize,
}

impl Requests {
    /// Marks a request as under way until the mark is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }
}

/// A request under way.
pub struct UnderWay(Arc<Requests>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose patience ends.
pub struct Patient<S> {
    stream: S,
    limits: Limits,
    requests: Arc<Requests>,
    /// As many requests had begun when the client last sent something.
    begun: usize,
    /// Part of a head has come, or nothing yet.
    in_head: bool,
    /// Many requests share the connection, and its frames are none of them.
    http2: Option<bool>,
    /// When what is waited for began.
    since: Instant,
    /// Armed once and not anew for each request: when it fires it is looked at what is due.
    timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// A stream whose requests are told to `requests`.
    pub fn new(stream: S, limits: Limits, requests: Arc<Requests>) -> Self {
        Self {
            stream,
            limits,
            requests,
            begun: 0,
            in_head: true,
            http2: None,
            since: Instant::now(),
            timer: None,
            write_timer: None,
        }
    }

    /// Requests began since the client last sent something: what it sent was read to its end.
    fn catch_up(&mut self) -> bool {
        let begun = self.requests.begun.load(Ordering::Relaxed);
        std::mem::replace(&mut self.begun, begun) != begun
    }

    fn received(&mut self, bytes: &[u8]) {
        let http2 = *self.http2.get_or_insert_with(|| bytes.starts_with(b"PRI"));
        if http2 {
            self.in_head = false;
            self.since = Instant::now();
        } else if self.catch_up() || !self.in_head {
            self.in_head = true;
            self.since = Instant::now();
        }
    }

    /// Whether the client has been waited for long enough; else the task is woken when it may have.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if self.requests.under_way.load(Ordering::Relaxed) > 0 {
            return false;
        }
        if self.catch_up() {
            self.in_head = false;
            self.since = Instant::now();
        }
        let limit = if self.in_head { self.limits.head } else { self.limits.idle };
        is_due(&mut self.timer, self.since + limit, context)
    }
}

/// Whether it is past `due`; else the timer wakes the task, at the latest then.
fn is_due(timer: &mut Option<Pin<Box<Sleep>>>, due: Instant, context: &mut Context<'_>) -> bool {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
    if timer.deadline() > due {
        timer.as_mut().reset(due);
    }
    while timer.as_mut().poll(context).is_ready() {
        if timer.deadline() >= due {
            return true;
        }
        timer.as_mut().reset(due);
    }
    false
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                self.received(&buffer.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Pending if self.is_over(context) => {
                // The end of an idle connection is no error.
                Poll::Ready(if self.in_head { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) })
            }
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    /// Ends a write that has waited for too long.
    fn written<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        match (&result, self.limits.write) {
            (Poll::Ready(_), _) => {
                self.write_timer = None;
                // While a client takes an answer it is not idle; from then on it is. hyper reads again only
                // when something has come or the timer wakes it.
                self.catch_up();
                self.in_head = false;
                self.since = Instant::now();
                is_due(&mut self.timer, self.since + self.limits.idle, context);
            }
            (Poll::Pending, Some(limit)) => {
                let due = self.write_timer.as_ref().map_or_else(|| Instant::now() + limit, |t| t.deadline());
                if is_due(&mut self.write_timer, due, context) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            (Poll::Pending, None) => {}
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    const SHORT: Duration = Duration::from_millis(30);
    /// A test in which this is waited for does not end.
    const LONG: Duration = Duration::from_hours(1);

    fn pair(head: Duration, idle: Duration) -> (DuplexStream, Patient<DuplexStream>, Arc<Requests>) {
        let (client, server) = tokio::io::duplex(64);
        let requests = Arc::new(Requests::default());
        let limits = Limits { head, idle, write: Some(SHORT) };
        (client, Patient::new(server, limits, Arc::clone(&requests)), requests)
    }

    async fn send(client: &mut DuplexStream, server: &mut Patient<DuplexStream>, text: &str) {
        client.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(server.read(&mut [0; 64]).await.unwrap(), text.len());
    }

    /// Waits for the end: whether it is an error.
    async fn ends_badly(server: &mut Patient<DuplexStream>) -> bool {
        match server.read(&mut [0; 64]).await {
            Ok(read) => {
                assert_eq!(read, 0);
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                true
            }
        }
    }

    #[tokio::test]
    async fn a_head_has_to_come() {
        let (_client, mut server, _) = pair(SHORT, LONG);
        assert!(ends_badly(&mut server).await, "nothing at all");
        let (mut client, mut server, requests) = pair(SHORT, LONG);
        drop(requests.begin());
        send(&mut client, &mut server, "GET /").await;
        assert!(ends_badly(&mut server).await, "half of one");
    }

    #[tokio::test]
    async fn the_next_request_has_a_time_of_its_own() {
        let (mut client, mut server, requests) = pair(LONG, SHORT);
        for _ in 0..2 {
            send(&mut client, &mut server, "GET / HTTP/1.1\r\n\r\n").await;
            drop(requests.begin());
        }
        assert!(!ends_badly(&mut server).await);
    }

    #[tokio::test]
    async fn a_request_under_way_is_waited_for() {
        let (mut client, mut server, requests) = pair(SHORT, SHORT);
        send(&mut client, &mut server, "x").await;
        let under_way = requests.begin();
        assert!(tokio::time::timeout(SHORT * 5, server.read(&mut [0; 64])).await.is_err());
        drop(under_way);
        assert!(!ends_badly(&mut server).await);
    }

    #[tokio::test]
    async fn frames_of_http2_are_no_heads() {
        let (mut client, mut server, _) = pair(LONG, SHORT);
        send(&mut client, &mut server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        assert!(!ends_badly(&mut server).await);
    }

    #[tokio::test]
    async fn an_answer_nobody_takes_is_given_up() {
        let (_client, mut server, _) = pair(LONG, LONG);
        let error = server.write_all(&[0; 128]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
