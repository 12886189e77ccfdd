//! A template is not removed while a lab may be about to start from it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use super::{Home, StateError};

/// Held by everything that starts labs from templates, together, or by the one that removes some,
/// alone. The system releases it when the process dies, however it dies.
#[derive(Debug)]
pub struct TemplateUse {
    /// `None` for a home that is not there: it has no templates.
    _file: Option<File>,
}

impl TemplateUse {
    /// Joins the users of a home's templates, waiting up to `patience` for one that removes some.
    /// `waiting` is told once that it is waited for.
    ///
    /// # Errors
    /// [`StateError::TemplatesInUse`] when patience ends.
    pub async fn join(home: &Home, patience: Duration, waiting: impl FnOnce()) -> Result<Self, StateError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut waiting = Some(waiting);
        loop {
            match take(home, File::try_lock_shared) {
                Err(StateError::TemplatesInUse) if tokio::time::Instant::now() < deadline => {
                    if let Some(tell) = waiting.take() {
                        tell();
                    }
                    // flock has no asynchronous form; this polls.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                taken => return taken,
            }
        }
    }

    /// Has the templates of a home for oneself.
    ///
    /// # Errors
    /// [`StateError::TemplatesInUse`] at once when they are in use.
    pub fn alone(home: &Home) -> Result<Self, StateError> {
        take(home, File::try_lock)
    }
}

fn take(
    home: &Home,
    lock: impl FnOnce(&File) -> Result<(), TryLockError>,
) -> Result<TemplateUse, StateError> {
    let path = home.root().join("templates.lock");
    let file = match OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(TemplateUse { _file: None }),
        opened => opened,
    };
    let file = file.map_err(StateError::io("open", &path))?;
    match lock(&file) {
        Ok(()) => Ok(TemplateUse { _file: Some(file) }),
        Err(TryLockError::WouldBlock) => Err(StateError::TemplatesInUse),
        Err(TryLockError::Error(e)) => Err(StateError::io("lock", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_may_use_them_and_one_may_remove_them() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let users = [
            TemplateUse::join(&home, Duration::ZERO, || ()).await.unwrap(),
            TemplateUse::join(&home, Duration::ZERO, || ()).await.unwrap(),
        ];
        assert!(matches!(TemplateUse::alone(&home), Err(StateError::TemplatesInUse)));
        drop(users);
        let alone = TemplateUse::alone(&home).unwrap();
        let mut told = false;
        let refused = TemplateUse::join(&home, Duration::from_millis(60), || told = true).await;
        assert!(matches!(refused, Err(StateError::TemplatesInUse)) && told);
        drop(alone);
        TemplateUse::join(&home, Duration::ZERO, || ()).await.unwrap();
    }
}
