//! Accepting connections, plain or TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::serve;
use crate::core::Core;

/// A client must have sent its headers within this.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A TLS handshake must be done within this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long connections may finish after a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The TLS settings of a listener; replaced when certificates are reloaded.
pub type Tls = watch::Receiver<Arc<rustls::ServerConfig>>;

/// A bound listener.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// TLS, or plain.
    pub tls: Option<Tls>,
}

impl Listener {
    /// Serves until `stop` turns true, then lets requests under way finish.
    pub async fn run(self, core: Arc<Core>, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, peer)) => self.spawn(stream, peer, &core, &graceful),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tokio::time::sleep(DRAIN_TIMEOUT) => {}
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, core: &Arc<Core>, graceful: &GracefulShutdown) {
        // Answers are small: waiting to fill packets only delays them.
        let _ = stream.set_nodelay(true);
        let watcher = graceful.watcher();
        let core = Arc::clone(core);
        match &self.tls {
            None => {
                tokio::spawn(connection(stream, peer, core, watcher));
            }
            Some(tls) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => connection(stream, peer, core, watcher).await,
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                    }
                });
            }
        }
    }
}

async fn connection<S>(
    stream: S,
    peer: SocketAddr,
    core: Arc<Core>,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(64 * 1024);
    builder.http2().timer(TokioTimer::new());
    let service = service_fn(move |request| serve(Arc::clone(&core), peer, request));
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, %error, "connection ended with an error");
    }
}
