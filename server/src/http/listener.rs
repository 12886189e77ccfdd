//! Accepting connections: TCP or a Unix socket, plain or TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;

use super::patience::{Limits, Patient, Requests};
use super::serve;
use crate::config;
use crate::core::Core;
use crate::tls::Acceptor;

/// A client must have sent its headers within this, unless the listener says otherwise.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection is kept for this long after a request, unless the listener says otherwise.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// How long connections may finish after a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket.
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

/// A listener ready to serve.
pub struct Listener {
    /// Its socket.
    pub socket: Socket,
    /// TLS, or plain.
    pub tls: Option<Acceptor>,
    /// Its limits and headers.
    pub options: Arc<config::Listener>,
}

impl Listener {
    /// Serves until `stop` turns true, then lets requests under way finish.
    pub async fn run(self, core: Arc<Core>, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        let service = Service { core, options: Arc::clone(&self.options) };
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&service, &graceful) => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        drop(self.socket);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tokio::time::sleep(DRAIN_TIMEOUT) => {}
        }
    }

    async fn accept(&self, service: &Service, graceful: &GracefulShutdown) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                tokio::spawn(tcp(stream, peer, self.tls.clone(), service.clone(), graceful.watcher()));
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                tokio::spawn(connection(stream, None, service.clone(), graceful.watcher()));
            }
        }
        Ok(())
    }
}

/// What every connection of a listener needs.
#[derive(Clone)]
struct Service {
    core: Arc<Core>,
    options: Arc<config::Listener>,
}

async fn tcp(stream: TcpStream, peer: SocketAddr, tls: Option<Acceptor>, service: Service, watcher: Watcher) {
    // Answers are small: waiting to fill packets only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    match tls {
        None => connection(stream, Some(peer), service, watcher).await,
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => connection(stream, Some(peer), service, watcher).await,
            Err(error) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        },
    }
}

async fn connection<S>(stream: S, peer: Option<SocketAddr>, service: Service, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Head and body of an answer in one buffer: most are small, and one write costs less than two parts.
    builder.http1().header_read_timeout(None).max_buf_size(64 * 1024).writev(false);
    builder.http2().timer(TokioTimer::new());
    let limits = Limits {
        head: timeout(service.options.http_read_header_timeout).unwrap_or(HEADER_TIMEOUT),
        idle: timeout(service.options.http_idle_timeout).unwrap_or(IDLE_TIMEOUT),
        write: timeout(service.options.http_write_timeout),
    };
    let requests = Arc::new(Requests::default());
    let stream = Patient::new(stream, limits, Arc::clone(&requests));
    let handler = service_fn(move |request| {
        let under_way = requests.begin();
        let answer = serve(Arc::clone(&service.core), Arc::clone(&service.options), peer, request);
        async move {
            let answer = answer.await;
            drop(under_way);
            answer
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), handler).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(?peer, %error, "connection ended with an error");
    }
}

/// A configured time limit; Vault takes zero for its default.
fn timeout(configured: Option<Duration>) -> Option<Duration> {
    configured.filter(|limit| !limit.is_zero())
}
