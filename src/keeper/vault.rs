//! Vault as the keeper sees it: lost, or open with a token that works.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::provision::{self, ProvisionError};
use crate::report::KeeperEvent;
use crate::runtime::ServiceState;
use crate::service::VAULT;
use crate::state::{KeeperToken, KeyStore, LabLock, VaultKeys};
use crate::vault::{Client, VaultError};

use super::Shared;

/// Pause between two looks at a Vault that is open: a seal is noticed so late, and is to be undone within a
/// second. These looks are nearly all that an idle keeper costs.
const OPEN_POLL: Duration = Duration::from_millis(900);

/// Pause between two looks at one that is lost, at first and after a while.
const LOST_POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// For how long it is looked for often.
const EAGER: Duration = Duration::from_secs(20);

/// How long the keeper waits after keys did not unseal it.
const WRONG_KEYS_PAUSE: Duration = Duration::from_secs(5);

/// How often the token is looked at although nothing was refused.
const TOKEN_CHECK: Duration = Duration::from_secs(1800);

/// How long the power of root lasts if the keeper dies before it gives it back.
const ROOT_TTL: Duration = Duration::from_secs(30);

/// Whether Vault can be worked with.
#[derive(Debug, Clone)]
pub(super) enum VaultState {
    /// It does not answer, is sealed, or accepts no token of the keeper's.
    Lost,
    /// It is open; the client has the keeper's token.
    Open(Client),
}

/// Waits until Vault is open.
pub(super) async fn open(state: &mut tokio::sync::watch::Receiver<VaultState>) -> Client {
    loop {
        if let VaultState::Open(client) = &*state.borrow_and_update() {
            return client.clone();
        }
        if state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether an error says that Vault is not there or sealed, so that waiting for it is what helps.
pub(super) fn is_lost(error: &ProvisionError) -> bool {
    match error {
        ProvisionError::Vault(source) | ProvisionError::On { source, .. } => match source {
            VaultError::Unreachable { .. } => true,
            VaultError::Refused { status, .. } => *status == 503,
            VaultError::Unexpected { .. } => false,
        },
        _ => false,
    }
}

/// Watches Vault for ever: unseals it whenever it is sealed, and sees to the token.
pub(super) async fn watch(shared: &Shared) {
    let mut watch = Watch { shared, client: None, keys: None, lost_since: Some(Instant::now()), told: false };
    loop {
        let pause = match watch.look().await {
            Ok(()) => {
                watch.opened();
                OPEN_POLL
            }
            Err(trouble) => watch.lost(&trouble),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.look_at_vault.notified(), if pause > LOST_POLL.0 => {}
        }
    }
}

struct Watch<'a> {
    shared: &'a Shared,
    /// Without a token.
    client: Option<Client>,
    /// Kept in memory: an encrypted store takes its time.
    keys: Option<VaultKeys>,
    lost_since: Option<Instant>,
    told: bool,
}

/// Why Vault cannot be worked with.
struct Trouble {
    text: String,
    /// Whether looking often is of no use.
    lasting: bool,
}

impl Trouble {
    fn passing(text: &impl ToString) -> Self {
        Self { text: text.to_string(), lasting: false }
    }

    fn lasting(text: &impl ToString) -> Self {
        Self { text: text.to_string(), lasting: true }
    }
}

impl Watch<'_> {
    /// One look; unseals, and replaces the token, where that is needed.
    async fn look(&mut self) -> Result<(), Trouble> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.find().await?,
        };
        let began = Instant::now();
        let status = match client.seal_status().await {
            Ok(status) => status,
            Err(error) => {
                // It may come back on another port.
                self.client = None;
                self.shared.look_at_services.notify_one();
                return Err(Trouble::passing(&error));
            }
        };
        if !status.initialized {
            return Err(Trouble::lasting(&"Vault is empty: `up` sets it up anew"));
        }
        if status.sealed {
            self.shared.vault.send_if_modified(|state| {
                let was_open = matches!(state, VaultState::Open(_));
                *state = VaultState::Lost;
                was_open
            });
            self.unseal(&client).await?;
            self.shared.record().unseals += 1;
            self.shared.report.keeper(KeeperEvent::Unsealed { took: began.elapsed() });
        }
        let token = match &*self.shared.vault.borrow() {
            VaultState::Open(with_token) if with_token.address() == client.address() => {
                with_token.token().cloned()
            }
            _ => None,
        };
        let doubted = self.shared.doubt_token.swap(false, Ordering::Relaxed);
        if token.is_some() && !doubted {
            return Ok(());
        }
        let client = self.with_token(&client).await?;
        if token.as_ref() != client.token() {
            self.shared.vault.send_replace(VaultState::Open(client));
        }
        Ok(())
    }

    async fn find(&mut self) -> Result<Client, Trouble> {
        match self.shared.runtime.state(VAULT).await {
            Ok(ServiceState::Running { endpoint, .. }) => {
                let client = Client::new(&format!("http://{endpoint}")).map_err(|e| Trouble::lasting(&e))?;
                self.client = Some(client.clone());
                Ok(client)
            }
            Ok(_) => {
                self.shared.look_at_services.notify_one();
                Err(Trouble::passing(&"it does not run"))
            }
            Err(error) => Err(Trouble::lasting(&error)),
        }
    }

    async fn unseal(&mut self, client: &Client) -> Result<(), Trouble> {
        let store = KeyStore::of(&self.shared.dir).protected(self.shared.spec.vault.key_store.clone());
        let known = match self.keys.take() {
            Some(keys) => Some(keys),
            None => store.load().map_err(|e| Trouble::lasting(&e))?,
        };
        let Some(keys) = known else {
            let path = store.path().display();
            return Err(Trouble::lasting(&format!("it is sealed, and its keys are not in {path}")));
        };
        let unsealed = async {
            provision::unseal(client, &keys, &store).await?;
            provision::until_active(client).await
        };
        match unsealed.await {
            Ok(()) => {
                self.keys = Some(keys);
                Ok(())
            }
            Err(error @ ProvisionError::WrongKeys { .. }) => Err(Trouble::lasting(&error)),
            Err(error) => Err(Trouble::passing(&error)),
        }
    }

    /// The client with a token that works: the saved one, or one made anew.
    async fn with_token(&self, client: &Client) -> Result<Client, Trouble> {
        let told = |error: &VaultError| Trouble::passing(error);
        let saved = KeeperToken::load(&self.shared.dir).map_err(|e| Trouble::lasting(&e))?;
        if let Some(saved) = saved {
            let client = client.with_token(saved.token);
            let info = client.token_info().await.map_err(|e| told(&e))?;
            if let Some(info) = info {
                if info.ttl < info.period.unwrap_or(0) * 2 / 3 {
                    client.renew_self().await.map_err(|e| told(&e))?;
                }
                return Ok(client);
            }
        }
        self.replace_token(client).await
    }

    /// Vault accepts no token of the keeper's: the lab was down for longer than one lives. A new one is
    /// made with the power of root, which the unseal keys give for a moment.
    async fn replace_token(&self, client: &Client) -> Result<Client, Trouble> {
        let Shared { dir, spec, .. } = self.shared;
        let _lock =
            LabLock::try_acquire(dir, "supervise").map_err(|e| Trouble::lasting(&e))?.map_err(|holder| {
                Trouble::passing(&format!("it refuses the keeper's token; waiting for {holder}"))
            })?;
        let store = KeyStore::of(dir).protected(spec.vault.key_store.clone());
        let replaced = async {
            let missing = || ProvisionError::KeysMissing { store: store.path().into() };
            let keys = store.load()?.ok_or_else(missing)?;
            let root = provision::regain_root(client, &keys, store.path(), Some(ROOT_TTL)).await?;
            let made = provision::ensure_keeper(&root, spec, dir).await;
            root.revoke_self().await?;
            made
        };
        replaced.await.map_err(|e| Trouble::lasting(&format!("it refuses the keeper's token: {e}")))?;
        let saved = KeeperToken::load(dir).map_err(|e| Trouble::lasting(&e))?;
        let saved = saved.ok_or_else(|| Trouble::lasting(&"the keeper's token was not saved"))?;
        self.shared.report.keeper(KeeperEvent::TokenReplaced);
        Ok(client.with_token(saved.token))
    }

    fn opened(&mut self) {
        let Some(since) = self.lost_since.take() else { return };
        if std::mem::take(&mut self.told) {
            self.shared.report.keeper(KeeperEvent::VaultBack { after: since.elapsed() });
            self.shared.record().vault_trouble = None;
        }
    }

    /// Tells the trouble once; gives how long to wait.
    fn lost(&mut self, trouble: &Trouble) -> Duration {
        let since = *self.lost_since.get_or_insert_with(Instant::now);
        self.shared.vault.send_if_modified(|state| {
            let was_open = matches!(state, VaultState::Open(_));
            *state = VaultState::Lost;
            was_open
        });
        // A Vault that is being started is not worth a word.
        if !self.told && (trouble.lasting || since.elapsed() > OPEN_POLL) {
            self.told = true;
            self.shared.report.keeper(KeeperEvent::VaultLost { cause: trouble.text.clone() });
            self.shared.record().vault_trouble = Some(trouble.text.clone());
        }
        match (trouble.lasting, since.elapsed() < EAGER) {
            (true, _) => WRONG_KEYS_PAUSE,
            (false, true) => LOST_POLL.0,
            (false, false) => LOST_POLL.1,
        }
    }
}

/// Doubts the token now and then, so that it is renewed.
pub(super) async fn renew(shared: &Shared) {
    loop {
        tokio::time::sleep(TOKEN_CHECK).await;
        shared.doubt_token.store(true, Ordering::Relaxed);
        shared.look_at_vault.notify_one();
    }
}
