//! Binding a listener's socket.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use tokio::net::{TcpListener, UnixListener};

use super::ServerError;
use crate::config::Address;
use crate::http::{Listener, Socket};

/// Binds an address.
pub async fn socket(address: &Address) -> Result<Socket, ServerError> {
    match address {
        Address::Tcp(address) => {
            let fail = |cause| ServerError::Listen { address: address.clone(), cause };
            TcpListener::bind(address).await.map(Socket::Tcp).map_err(fail)
        }
        Address::Unix { path, mode } => {
            let fail = |cause| ServerError::Listen { address: path.display().to_string(), cause };
            // A socket that nobody answers on was left by a server that crashed.
            if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
                fs::remove_file(path).map_err(fail)?;
            }
            let socket = UnixListener::bind(path).map_err(fail)?;
            let mode = fs::Permissions::from_mode(mode.unwrap_or(0o600));
            fs::set_permissions(path, mode).map_err(fail)?;
            Ok(Socket::Unix(socket))
        }
    }
}

/// The TCP address of a listener.
pub fn address(listener: &Listener) -> Option<SocketAddr> {
    match &listener.socket {
        Socket::Tcp(socket) => socket.local_addr().ok(),
        Socket::Unix(_) => None,
    }
}
