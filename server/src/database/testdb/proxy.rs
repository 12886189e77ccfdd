//! A way to a database that can be made to fail.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Which way a conversation is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What the client says does not arrive.
    Request,
    /// It arrives, but what the database answers does not.
    Answer,
}

/// Passes connections on to a database, until it is told otherwise.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    target: u16,
    /// New connections are closed at once.
    down: AtomicBool,
    /// New connections hear nothing.
    silent: AtomicBool,
    /// The next cut, and how many messages of its kind still pass.
    cut: Mutex<Option<Cut>>,
    passing: AtomicIsize,
    /// The cut only holds back, until the client gives up.
    holds: AtomicBool,
    /// What one connection does for ever, so does every other from then on.
    stalled: AtomicBool,
    /// Ends all connections when it changes.
    broken: watch::Sender<()>,
}

impl Proxy {
    /// A proxy in front of the database at this port of the loopback.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target,
            down: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            cut: Mutex::new(None),
            passing: AtomicIsize::new(0),
            holds: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            broken: watch::Sender::new(()),
        });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(client));
            }
        });
        Self { address, state }
    }

    /// Ends all connections and accepts none, or passes them on again.
    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
        if down {
            self.state.broken.send_replace(());
        }
    }

    /// Whether new connections are accepted but hear nothing.
    pub fn set_silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }

    /// Ends the connection that passes this many further messages of a kind, once.
    pub fn cut_after(&self, messages: isize, cut: Cut) {
        self.state.holds.store(false, Ordering::SeqCst);
        self.state.passing.store(messages, Ordering::SeqCst);
        *self.state.cut() = Some(cut);
    }

    /// Holds back what comes after this many further messages of a kind without closing anything; new
    /// connections hear nothing from then on.
    pub fn stall_after(&self, messages: isize, cut: Cut) {
        self.cut_after(messages, cut);
        self.state.holds.store(true, Ordering::SeqCst);
    }

    /// Cuts nothing any more; whether something was.
    pub fn mend(&self) -> bool {
        self.state.stalled.store(false, Ordering::SeqCst);
        self.state.cut().take().is_none()
    }
}

impl State {
    fn cut(&self) -> std::sync::MutexGuard<'_, Option<Cut>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connection ends with this message.
    fn ends_with(&self, way: Cut) -> bool {
        let mut cut = self.cut();
        let now = *cut == Some(way) && self.passing.fetch_sub(1, Ordering::SeqCst) <= 0;
        if now {
            *cut = None;
        }
        now
    }

    async fn serve(self: Arc<Self>, client: TcpStream) {
        let mut broken = self.broken.subscribe();
        if self.down.load(Ordering::SeqCst) {
            return;
        }
        if self.silent.load(Ordering::SeqCst) || self.stalled.load(Ordering::SeqCst) {
            // Until the client gives up.
            let (mut from_client, _to_client) = client.into_split();
            let mut heard = [0; 1024];
            while from_client.read(&mut heard).await.is_ok_and(|count| count > 0) {}
            return;
        }
        let Ok(database) = TcpStream::connect(("127.0.0.1", self.target)).await else { return };
        let (from_client, to_client) = client.into_split();
        let (from_database, to_database) = database.into_split();
        tokio::select! {
            () = self.pass(from_client, to_database, Cut::Request) => {}
            () = self.pass(from_database, to_client, Cut::Answer) => {}
            _ = broken.changed() => {}
        }
    }

    /// Passes messages on until either side or a cut ends it.
    async fn pass(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Cut) {
        let mut message = vec![0; 1 << 16];
        while let Ok(count) = from.read(&mut message).await {
            if count == 0 {
                return;
            }
            if self.ends_with(way) {
                if self.holds.load(Ordering::SeqCst) {
                    self.stalled.store(true, Ordering::SeqCst);
                    // Heard but not passed on, until the client goes: the other way goes on.
                    while from.read(&mut message).await.is_ok_and(|count| count > 0) {}
                }
                return;
            }
            if to.write_all(&message[..count]).await.is_err() {
                return;
            }
        }
    }
}
