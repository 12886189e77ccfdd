//! A socket in front of the container engine's that can be made to fail.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What becomes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The engine dies: every connection ends, and there are no new ones.
    Gone,
    /// The engine hangs: connections stay, nothing is answered any more.
    Hung,
    /// This request is refused with a status and the engine's words; all others get through.
    Refuses(u16, &'static str),
    /// Nothing: it is only told that the request came.
    None,
}

/// A fault, and the request it begins with, as in `POST` and `/start`.
struct Trap {
    method: &'static str,
    path: &'static str,
    fault: Fault,
}

#[derive(Default)]
struct State {
    trap: Option<Trap>,
    /// The fault that is there now.
    now: Option<Fault>,
    sprung: bool,
    connections: Vec<UnixStream>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Ends with the test's process.
pub struct EngineProxy {
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
}

impl EngineProxy {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("engine.sock")).expect("a socket");
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                serve(&accepting, client.expect("a connection"));
            }
        });
        Self { shared, folder }
    }

    /// For `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("engine.sock").display())
    }

    /// From the first request on with this method and this in its path.
    pub fn trap(&self, method: &'static str, path: &'static str, fault: Fault) {
        self.lock().trap = Some(Trap { method, path, fault });
    }

    /// From now on.
    pub fn fail(&self, fault: Fault) {
        self.shared.begin(fault, &mut self.lock());
    }

    /// Waits until the request came that a trap is for; false when `limit` ends before.
    pub fn sprung(&self, limit: Duration) -> bool {
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.lock(), limit, |state| !state.sprung)
            .unwrap_or_else(PoisonError::into_inner);
        state.sprung
    }

    /// The engine is as if nothing had been. Requests that hung are lost.
    pub fn mend(&self) {
        self.fail(Fault::Gone);
        let mut state = self.lock();
        (state.trap, state.now, state.sprung) = (None, None, false);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, fault: Fault, state: &mut State) {
        if fault == Fault::Gone {
            for connection in state.connections.drain(..) {
                // It may have ended by itself.
                drop(connection.shutdown(Shutdown::Both));
            }
        }
        state.now = Some(fault);
        self.changed.notify_all();
    }

    /// What to answer to the request that these bytes begin, if they begin one; waits while the engine
    /// hangs.
    fn verdict(&self, bytes: &[u8]) -> Option<Fault> {
        let mut state = self.lock();
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).into_owned();
        let line = head.lines().next().unwrap_or_default();
        let springs = |trap: &Trap| {
            line.starts_with(trap.method) && line.contains(trap.path) && line.ends_with("HTTP/1.1")
        };
        if let Some(trap) = state.trap.take_if(|trap| springs(trap)) {
            state.sprung = true;
            self.changed.notify_all();
            match trap.fault {
                Fault::None => {}
                refused @ Fault::Refuses(..) => {
                    // Whoever tries again is refused again.
                    state.trap = Some(trap);
                    return Some(refused);
                }
                fault => self.begin(fault, &mut state),
            }
        }
        while state.now == Some(Fault::Hung) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.now
    }
}

fn engine() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").ok();
    let path = host.as_deref().and_then(|host| host.strip_prefix("unix://"));
    path.map_or_else(|| Path::new("/var/run/docker.sock").into(), PathBuf::from)
}

fn serve(shared: &Arc<Shared>, client: UnixStream) {
    let mut state = shared.lock();
    if state.now == Some(Fault::Gone) {
        return;
    }
    let engine = UnixStream::connect(engine()).expect("the engine");
    for end in [&client, &engine] {
        state.connections.push(end.try_clone().expect("a socket"));
    }
    drop(state);
    let (from_client, to_engine) = (client.try_clone(), engine.try_clone());
    let asking = shared.clone();
    let (mut from_client, mut to_engine) = (from_client.expect("a socket"), to_engine.expect("a socket"));
    thread::spawn(move || {
        pump(&mut from_client, &mut to_engine, |client, bytes| match asking.verdict(bytes) {
            None => true,
            Some(Fault::Refuses(status, words)) => {
                let body = serde_json::json!({ "message": words }).to_string();
                let answer = format!(
                    "HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{body}",
                    body.len()
                );
                drop(client.write_all(answer.as_bytes()));
                // An upload that nobody reads to its end would be a connection that broke.
                drop(client.shutdown(Shutdown::Write));
                drop(client.set_read_timeout(Some(Duration::from_secs(5))));
                drop(std::io::copy(client, &mut std::io::sink()));
                false
            }
            Some(_) => false,
        });
    });
    let (mut client, mut engine) = (client, engine);
    let answering = shared.clone();
    thread::spawn(move || {
        pump(&mut engine, &mut client, |_, _| answering.verdict(&[]) != Some(Fault::Gone));
    });
}

/// Copies until one side ends, or `let_through` says no.
fn pump(
    from: &mut UnixStream,
    to: &mut UnixStream,
    mut let_through: impl FnMut(&mut UnixStream, &[u8]) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(count) if count > 0 => {
                if !let_through(from, &buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            _ => {
                // The other direction goes on: an upload ends before its answer comes.
                drop(to.shutdown(Shutdown::Write));
                return;
            }
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
