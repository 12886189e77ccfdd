//! Credentials that are issued, revoked, expire and rotate.

use std::time::Duration;

use tokio::time::Instant;

use super::watch::{self, Watched};
use super::{CheckError, Checks, DemoOptions, DemoResult};
use crate::database::{Login, Target, connect, try_login};
use crate::lab::{Data, DatabaseInfo, Lab, LabError, RoleCredential, RunningLab};
use crate::provision::{DatabaseTarget, rotate_root_again};
use crate::spec::model::{DatabaseSpec, RootRotation};
use crate::state::{Accounts, Credentials};
use crate::vault::Client;

/// TTL, in seconds, that a lease is shortened to when it is left to expire.
const SHORT_TTL: u64 = 2;

/// How long the root token for a rotation lives, if it is not revoked.
const ROOT_TTL: Duration = Duration::from_mins(5);

/// How long after its end a lease's account may still be there: Vault revokes when the TTL is over,
/// not at that very moment.
const EXPIRY_PATIENCE: Duration = Duration::from_secs(20);

impl Lab {
    /// Runs the scenario on this lab. One that is not up is brought up for it, and afterwards left
    /// as it was before: a lab that did not exist is removed.
    pub async fn demo_rotate(
        &self,
        options: &DemoOptions,
        interrupt: impl Future<Output = ()>,
    ) -> Result<DemoResult, LabError> {
        something_to_rotate(self)?;
        let mut interrupt = std::pin::pin!(interrupt);
        let existed = self.dir().manifest().exists();
        let (running, ours) = match self.running().await {
            Ok(running) => (running, false),
            Err(LabError::NotRunning { .. }) => (self.up_unless(&mut interrupt).await?, true),
            Err(error) => return Err(error),
        };
        let result = tokio::select! {
            result = running.demo_rotate(options) => result,
            () = &mut interrupt => Err(LabError::Interrupted),
        };
        if ours {
            self.down(if existed { Data::Keep } else { Data::Remove }).await?;
        }
        result
    }
}

/// Nothing that was checked is no success.
fn something_to_rotate(lab: &Lab) -> Result<(), LabError> {
    if lab.spec().databases.is_empty() {
        return Err(LabError::NoDatabase { lab: lab.name().into() });
    }
    Ok(())
}

impl RunningLab {
    /// Runs the scenario on this lab.
    ///
    /// # Errors
    /// Only when the lab's own state cannot be read, or it has no database; what the scenario finds wrong is a failed
    /// check in the result.
    pub async fn demo_rotate(&self, options: &DemoOptions) -> Result<DemoResult, LabError> {
        let lab = self.lab();
        something_to_rotate(lab)?;
        let accounts = Accounts::load(lab.dir())?;
        let mut checks = Checks::new(lab.report());
        let token = self.log_in(&mut checks).await;
        for spec in &lab.spec().databases {
            let (Some(accounts), Some(info)) = (
                accounts.databases.get(&spec.name),
                self.databases().iter().find(|info| info.name == spec.name),
            ) else {
                checks
                    .check::<()>(format!("{}: accounts are known", spec.name), async {
                        Err(CheckError::seen("the lab does not know the accounts of this database"))
                    })
                    .await;
                continue;
            };
            let mut subject = Subject {
                lab: self,
                vault: token.as_ref().unwrap_or(self.vault()),
                target: DatabaseTarget { spec, from_host: target(spec, info), accounts: accounts.clone() },
            };
            subject.dynamic_credentials(&mut checks).await;
            if spec.root_rotation == RootRotation::Off {
                lab.report().note(format!("{}: root is not rotated, as the lab file says", spec.name));
            } else {
                subject.root_rotation(&mut checks).await;
            }
        }
        let watched = match options.watch {
            Some(duration) => self.watch(&mut checks, duration).await,
            None => Vec::new(),
        };
        if let Some(token) = token {
            checks
                .check("the AppRole's token is revoked", async {
                    token.revoke_self().await?;
                    if token.token_is_valid().await? {
                        return Err(CheckError::seen("Vault still accepts it"));
                    }
                    Ok(("Vault refuses it now".into(), ()))
                })
                .await;
        }
        Ok(checks.into_result(lab.name(), watched))
    }

    /// A client with the token of the first AppRole, got as an application gets it.
    async fn log_in(&self, checks: &mut Checks<'_>) -> Option<Client> {
        let approle = self.lab().spec().approles.first()?;
        checks
            .check(format!("AppRole {} logs in with the delivered pair", approle.name), async {
                let client = self.vault().with_token(self.login(&approle.name).await?);
                if !client.token_is_valid().await? {
                    return Err(CheckError::seen("Vault does not accept the token it gave"));
                }
                Ok((format!("policies {}", approle.policies.join(", ")), client))
            })
            .await
    }

    async fn watch(&self, checks: &mut Checks<'_>, duration: Duration) -> Vec<Watched> {
        checks
            .check(format!("an application queries for {} s without a failure", duration.as_secs()), async {
                let watched = watch::watch(self, duration).await?;
                let bad: Vec<&Watched> = watched.iter().filter(|w| w.failed > 0 || w.queries == 0).collect();
                if let Some(bad) = bad.first() {
                    let error = bad.first_error.as_deref().unwrap_or("no query ran");
                    return Err(CheckError::seen(format!(
                        "{}: {} of {} queries failed; the first: {error}",
                        bad.database, bad.failed, bad.queries
                    )));
                }
                let told: Vec<String> = watched.iter().map(ToString::to_string).collect();
                Ok((told.join("; "), watched))
            })
            .await
            .unwrap_or_default()
    }
}

pub(super) fn target(spec: &DatabaseSpec, info: &DatabaseInfo) -> Target {
    Target { engine: spec.engine, endpoint: info.endpoint(), database: spec.database.clone() }
}

/// One database and a token that may ask for its credentials.
struct Subject<'a> {
    lab: &'a RunningLab,
    vault: &'a Client,
    target: DatabaseTarget<'a>,
}

impl Subject<'_> {
    async fn dynamic_credentials(&self, checks: &mut Checks<'_>) {
        let spec = self.target.spec;
        let mut first = true;
        for role in &spec.roles {
            let path = format!("{}/creds/{}", spec.mount, role.name);
            match self.vault.capabilities(&path).await {
                Ok(capabilities) if !capabilities.iter().any(|c| c == "read" || c == "root") => continue,
                _ => {}
            }
            let Some(credential) = checks
                .check(
                    format!("{}: a credential of {} is used", spec.name, role.name),
                    self.issue(&role.name),
                )
                .await
            else {
                continue;
            };
            // One lease of each database is left to expire; the others are revoked.
            if std::mem::take(&mut first) {
                let name = format!("{}: a lease of {} expires and the account goes", spec.name, role.name);
                checks.check(name, self.expire(&credential)).await;
            } else {
                let name = format!("{}: a lease of {} is revoked and the account goes", spec.name, role.name);
                checks.check(name, self.revoke(&credential)).await;
            }
        }
    }

    /// A credential that has logged in and read something.
    async fn issue(&self, role: &str) -> Result<(String, RoleCredential), CheckError> {
        let credential = self.lab.credential_with(self.vault, role).await?;
        let mut database = connect(&self.target.from_host, &account(&credential)).await?;
        let proof = self.target.spec.roles.iter().find(|r| r.name == role).map(|r| &r.proof);
        let query = proof.and_then(|proof| proof.allows.first()).map_or("SELECT 1", String::as_str);
        let check = database.check(query).await;
        database.close().await;
        match check {
            crate::database::Check::Allowed => {
                Ok((format!("{} ran `{query}`", credential.username), credential))
            }
            crate::database::Check::Refused(refusal) => {
                Err(CheckError::seen(format!("`{query}`: {refusal}")))
            }
            crate::database::Check::Failed(error) => Err(CheckError::seen(error)),
        }
    }

    async fn revoke(&self, credential: &RoleCredential) -> Result<(String, ()), CheckError> {
        self.lab.revoke(credential).await?;
        match self.presence(credential).await? {
            None => Ok((format!("{} is gone, its login refused", credential.username), ())),
            Some(still) => Err(CheckError::seen(still)),
        }
    }

    async fn expire(&self, credential: &RoleCredential) -> Result<(String, ()), CheckError> {
        let ttl =
            self.lab.vault().renew_lease(credential.lease_id().unwrap_or_default(), Some(SHORT_TTL)).await?;
        let began = Instant::now();
        let limit = Duration::from_secs(ttl) + EXPIRY_PATIENCE;
        loop {
            // Nothing announces the end of a lease: the database is asked until the account is gone.
            tokio::time::sleep(Duration::from_millis(100)).await;
            match self.presence(credential).await? {
                None => {
                    let after = began.elapsed().as_secs_f64();
                    let seen = format!("{} was gone {after:.1} s into a TTL of {ttl} s", credential.username);
                    return Ok((seen, ()));
                }
                Some(still) if began.elapsed() > limit => return Err(CheckError::seen(still)),
                Some(_) => {}
            }
        }
    }

    /// What is left of a credential's account: asked of the server as its superuser, and tried by
    /// a login. `None` when nothing is.
    async fn presence(&self, credential: &RoleCredential) -> Result<Option<String>, CheckError> {
        let mut database = connect(&self.target.from_host, &self.target.accounts.superuser).await?;
        let exists = database.account_exists(&credential.username).await;
        database.close().await;
        if exists? {
            return Ok(Some(format!("the account {} still exists", credential.username)));
        }
        Ok(match try_login(&self.target.from_host, &account(credential)).await? {
            Login::Refused(_) => None,
            Login::Accepted => Some(format!("{} can still log in", credential.username)),
        })
    }

    async fn root_rotation(&mut self, checks: &mut Checks<'_>) {
        let name = format!("{}: root is rotated and the old password refused", self.target.spec.name);
        let (lab, target) = (self.lab, &mut self.target);
        let rotated = checks
            .check(name, async {
                let root = lab.root(ROOT_TTL).await?;
                let rotated = {
                    // The lab's lock: an `up` at the same time must not see a rotation half done.
                    let _lock = lab.lab().lock("demo rotate").await?;
                    rotate_root_again(root.client(), target, lab.lab().dir()).await
                };
                root.end().await?;
                rotated?;
                Ok(("Vault alone knows the new one".into(), ()))
            })
            .await;
        let Some(role) = self.target.spec.roles.first().filter(|_| rotated.is_some()) else { return };
        let name = format!("{}: credentials are issued after the rotation", self.target.spec.name);
        let with_root = Subject { lab: self.lab, vault: self.lab.vault(), target: self.target.clone() };
        let issued = checks.check(name, with_root.issue(&role.name)).await;
        if let Some(credential) = issued {
            let name = format!("{}: and revoked", self.target.spec.name);
            checks.check(name, with_root.revoke(&credential)).await;
        }
    }
}

pub(super) fn account(credential: &RoleCredential) -> Credentials {
    Credentials::new(credential.username.clone(), credential.password.clone())
}
