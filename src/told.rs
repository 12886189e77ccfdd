//! Files that the system gives out to tell of something: they can be read from once it happened.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Such a file, not blocking.
#[derive(Debug)]
pub(crate) struct Told(AsyncFd<OwnedFd>);

impl Told {
    /// `None` outside a runtime, and where the system has no room for another.
    pub fn by(file: OwnedFd) -> Option<Self> {
        tokio::runtime::Handle::try_current().ok()?;
        #[expect(unsafe_code, reason = "the runtime's way to take a file that it does not know")]
        // SAFETY: what is owned stays the same open file until the runtime lets go of it.
        let file = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) };
        file.ok().map(Self)
    }

    pub fn file(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    /// Completes once it happened.
    pub async fn happened(&self) {
        if self.0.readable().await.is_err() {
            // The runtime is ending.
            std::future::pending::<()>().await;
        }
    }

    /// The same, each time that it happens.
    pub async fn happens(&self) {
        loop {
            let Ok(mut ready) = self.0.readable().await else { return std::future::pending().await };
            let mut news = [0_u8; 4096];
            match rustix::io::read(&self.0, &mut news) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                // An error is news, too: that the clock was set.
                Ok(_) | Err(_) => return,
            }
        }
    }
}
