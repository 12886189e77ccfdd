//! `up`: from nothing, or from anything a crash may have left, to a lab whose credentials are proven.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::SetOnce;
use tokio::time::Instant;

use super::watch::{NEWS, Watch, while_it_runs};
use super::{DatabaseInfo, Lab, LabError, RunningLab, owned, undo};
use crate::database::Target;
use crate::provision::{
    self, AppRoleStep, AuditStep, AuthStep, ConnectionStep, DatabaseTarget, EngineStep, Opened, PolicyStep,
    Predecessor, ProvisionError, RoleStep, converge,
};
use crate::report::{EventKind, EventLog, Outcome};
use crate::runtime::{Running, Runtime};
use crate::service::{Service, VAULT};
use crate::spec::model::{AppRoleSpec, DatabaseSpec, RootRotation};
use crate::state::{KeyStore, LabLock, Manifest, TemplateUse};
use crate::vault::Client;

/// How long after the time that was given `up` ends, where no wait within has ended it: such a wait
/// says more, once it is known that no service has ended.
const LATEST: Duration = NEWS.saturating_mul(2);

impl Lab {
    /// Brings the lab up, or reconciles one that is up.
    pub async fn up(&self) -> Result<RunningLab, LabError> {
        self.up_unless(std::future::pending()).await
    }

    /// [`Lab::up`], given up when `interrupt` comes. What this call started is undone on failure,
    /// unless the options say to retain it; a lab that was there before keeps its data.
    pub async fn up_unless(&self, interrupt: impl Future<Output = ()>) -> Result<RunningLab, LabError> {
        let mut interrupt = std::pin::pin!(interrupt);
        let lock = tokio::select! {
            lock = self.lock("up") => lock?,
            () = &mut interrupt => return Err(LabError::Interrupted),
        };
        self.dir.finish_removals()?;
        self.keep_events()?;
        let using = tokio::select! {
            using = self.use_templates() => using?,
            () = &mut interrupt => return Err(LabError::Interrupted),
        };
        let store = self.open_key_store()?;
        let runtime = tokio::select! {
            runtime = super::runtimes::choose(self) => runtime?,
            () = &mut interrupt => return Err(LabError::Interrupted),
        };
        self.refuse_other_data(runtime.as_ref()).await?;
        // From here on: pulling images takes as long as it takes.
        let deadline = Instant::now() + self.timeout();
        let before = undo::Before::look(self, runtime.as_ref()).await?;
        self.save_manifest(runtime.as_ref())?;
        let result = tokio::select! {
            // What waits for something in particular until then says more.
            biased;
            result = self.bring_up(runtime.as_ref(), &store, deadline) => result,
            () = tokio::time::sleep_until(deadline + LATEST) => Err(LabError::Timeout {
                lab: self.name().into(),
                seconds: self.timeout().as_secs(),
                step: self.report.running_steps().join(", "),
            }),
            () = &mut interrupt => Err(LabError::Interrupted),
        };
        if let Err(error) = &result {
            if let [_, ..] = error.service_log() {
                let lines = error.service_log().to_vec();
                self.report.emit(EventKind::ServiceLog { service: error.service().into(), lines });
            }
            if self.options.retain {
                self.report.note(format!("kept as it is (--retain): {}", self.dir.path().display()));
            } else {
                before.restore(self, runtime.as_ref()).await;
            }
        }
        if result.is_ok() {
            // A lab without a keeper is up all the same.
            if let Err(error) = self.ensure_keeper().await {
                self.report.warn(format!("the lab has no keeper: {error}"));
            }
        }
        drop((using, lock));
        result
    }

    pub(crate) async fn lock(&self, purpose: &str) -> Result<LabLock, LabError> {
        let tell =
            |holder: &_| self.report.note(format!("waiting for {holder} to finish with lab {}", self.name()));
        Ok(LabLock::acquire(&self.dir, purpose, self.timeout(), tell).await?)
    }

    /// What this lab may start from is not removed meanwhile.
    async fn use_templates(&self) -> Result<TemplateUse, LabError> {
        let tell = || self.report.note("waiting for `vaultlab prune` to finish");
        Ok(TemplateUse::join(&self.home, self.timeout(), tell).await?)
    }

    /// Before anything is started: keys that cannot be opened, or not be saved in the form that is
    /// wanted, would leave a Vault that stays sealed.
    fn open_key_store(&self) -> Result<KeyStore, LabError> {
        let store = self.key_store();
        if store.is_to_be_converted()?
            && let Some(keys) = store.load()?
        {
            store.prove_writable()?;
            store.save(&keys)?;
            self.report.note(format!("the unseal keys are now in {}", store.path().display()));
        }
        Ok(store)
    }

    /// Adds what happens from now on to the lab's `events.jsonl`.
    pub(super) fn keep_events(&self) -> Result<(), LabError> {
        let path = self.dir.events();
        let log = EventLog::open(&path);
        let log = log.map_err(|source| LabError::File { operation: "open", path, source })?;
        self.report.attach(Box::new(log));
        Ok(())
    }

    /// Where the lab comes from is known from the first moment on, so that a crash at any point
    /// leaves something `down` can find.
    fn save_manifest(&self, runtime: &dyn Runtime) -> Result<(), LabError> {
        let file = self.file().map(Into::into);
        let known = Manifest::load(&self.dir)?;
        if let Some(known) = known.as_ref().filter(|known| known.lab_file != file) {
            // A file that is gone was moved; one that is there is another lab's.
            let theirs =
                known.lab_file.as_ref().map_or("the program itself".into(), |f| f.display().to_string());
            if known.lab_file.as_ref().is_none_or(|theirs| theirs.exists()) {
                let ours = self.spec.origin.to_string();
                return Err(LabError::OtherFile { lab: self.name().into(), theirs, ours });
            }
        }
        let mut manifest = known.unwrap_or_else(|| Manifest::new(runtime.kind().as_str(), file.clone()));
        manifest.lab_file = file;
        manifest.runtime = runtime.kind().as_str().into();
        manifest.runtimes =
            runtime.places().into_iter().map(|(name, kind)| (name, kind.as_str().to_owned())).collect();
        Ok(manifest.save(&self.dir)?)
    }

    async fn bring_up(
        &self,
        runtime: &dyn Runtime,
        store: &KeyStore,
        deadline: Instant,
    ) -> Result<RunningLab, LabError> {
        let mounted = SetOnce::new();
        let declared = owned::declared(&self.spec);
        owned::remember(&self.dir, &declared)?;
        let watch = Watch::new(runtime);
        let databases = self.spec.databases.iter().map(|spec| async {
            let running =
                runtime.ensure_running(&Service::Database(spec.clone()), &self.report, deadline).await?;
            watch.begin(&spec.name);
            let root = mounted.wait().await;
            let info = DatabaseInfo::new(spec, &running.endpoint);
            self.connect_and_prove(root, spec, running).await?;
            Ok::<_, LabError>(info)
        });
        let vault = async {
            let (running, opened) = self.open_vault(runtime, store, deadline).await?;
            watch.begin(VAULT);
            self.audit(&opened.root, &running).await?;
            self.mount(&opened.root).await?;
            self.roles(&opened.root).await?;
            // There is no other setter, so this cannot fail.
            let _ = mounted.set(opened.root.clone());
            self.policies_and_approles(&opened.root).await?;
            let client = self.token_for_commands(&opened.root).await?;
            self.remove_undeclared(&opened.root, &declared).await?;
            Ok::<_, LabError>((running, opened, client))
        };
        let work = async { tokio::try_join!(vault, try_join_all(databases)) };
        let ((running, opened, client), databases) = watch.over(work).await?;
        self.revoke_root(&opened, store).await?;
        runtime.settle().await;
        Ok(RunningLab::new(self.clone(), client, runtime.kind(), &running, databases))
    }

    async fn token_for_commands(&self, root: &Client) -> Result<Client, LabError> {
        let work = async {
            if self.spec.vault.keep_root_token {
                return Ok((provision::keep_root(root, &self.dir).await?, root.clone()));
            }
            provision::ensure_operator(root, &self.spec, &self.dir).await
        };
        let title = "Keep a token for commands";
        Ok(self.report.step("command token", title, &["approles"], work).await?)
    }

    /// Nothing needs root any more.
    async fn revoke_root(&self, opened: &Opened, store: &KeyStore) -> Result<(), LabError> {
        if self.spec.vault.keep_root_token {
            return Ok(());
        }
        let work = async {
            Ok::<_, ProvisionError>((provision::revoke_root(&opened.root, store, &opened.keys).await?, ()))
        };
        let before: Vec<String> = self.report.steps().into_iter().map(|step| step.step).collect();
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        Ok(self.report.step("revoke root", "Revoke the root token", &before, work).await?)
    }

    async fn open_vault(
        &self,
        runtime: &dyn Runtime,
        store: &KeyStore,
        deadline: Instant,
    ) -> Result<(Running, Opened), LabError> {
        let service = Service::Vault(self.spec.vault.clone());
        for attempt in 0.. {
            let running = runtime.ensure_running(&service, &self.report, deadline).await?;
            let client = Client::new(&format!("http://{}", running.endpoint))?;
            let root_ttl = self.timeout() + ROOT_SPARE;
            let opening = provision::open_vault(&client, &self.spec.vault, store, &self.report, root_ttl);
            match while_it_runs(runtime, VAULT, opening).await? {
                Ok(opened) => return Ok((running, opened)),
                Err(ProvisionError::KeysLost) if attempt == 0 => {
                    self.report.warn(
                        "an earlier `up` died while it initialised Vault, before the keys were saved: starting Vault anew",
                    );
                    runtime.remove(VAULT).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ProvisionError::KeysLost.into())
    }

    async fn audit(&self, root: &Client, running: &Running) -> Result<(), LabError> {
        let Some(audit) = &self.spec.vault.audit else { return Ok(()) };
        let file = format!("{}/{}", running.log_folder, audit.file);
        let step = AuditStep { path: audit.path.clone(), file };
        let work = async { Ok::<_, ProvisionError>((converge(root, [step]).await?, ())) };
        let after = ["regain root", "unseal vault"];
        Ok(self.report.step("audit device", "Enable the audit device", &after, work).await?)
    }

    async fn mount(&self, root: &Client) -> Result<(), LabError> {
        let mut paths: Vec<&str> = self.spec.databases.iter().map(|d| d.mount.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        let engines = paths.into_iter().map(|path| EngineStep { path: path.into() });
        let work = async { Ok::<_, ProvisionError>((converge(root, engines).await?, ())) };
        let after = ["audit device", "regain root", "unseal vault"];
        Ok(self.report.step("secrets engine", "Enable the database secrets engine", &after, work).await?)
    }

    /// Roles need no connection yet: they are there when the databases are.
    async fn roles(&self, root: &Client) -> Result<(), LabError> {
        let steps = self.spec.roles().map(|(database, role)| RoleStep { database, role });
        let work = async { Ok::<_, ProvisionError>((converge(root, steps).await?, ())) };
        Ok(self.report.step("roles", "Write the database roles", &["secrets engine"], work).await?)
    }

    /// Policies before the AppRoles that name them; both need no database.
    async fn policies_and_approles(&self, root: &Client) -> Result<(), LabError> {
        let report = &self.report;
        let policies = async {
            let steps = self.spec.policies.iter().map(PolicyStep);
            Ok::<_, ProvisionError>((converge(root, steps).await?, ()))
        };
        report.step("policies", "Write the policies", &["secrets engine"], policies).await?;
        let approles = async {
            let method = converge(root, [AuthStep]).await?;
            let roles = converge(root, self.spec.approles.iter().map(AppRoleStep)).await?;
            Ok::<_, ProvisionError>((if roles == Outcome::Unchanged { method } else { roles }, ()))
        };
        report.step("approles", "Write the AppRoles", &["policies"], approles).await?;
        let deliveries = try_join_all(self.spec.approles.iter().map(|spec| self.deliver(root, spec)));
        tokio::try_join!(deliveries, self.keeper_token(root))?;
        Ok(())
    }

    /// What a keeper asks Vault with, whoever it is that will keep the lab.
    async fn keeper_token(&self, root: &Client) -> Result<(), LabError> {
        if !self.spec.keeper {
            return Ok(());
        }
        let work = async {
            Ok::<_, ProvisionError>((provision::ensure_keeper(root, &self.spec, &self.dir).await?, ()))
        };
        Ok(self.report.step("keeper token", "Give the keeper its token", &["approles"], work).await?)
    }

    async fn deliver(&self, root: &Client, spec: &AppRoleSpec) -> Result<(), LabError> {
        let name = format!("deliver {}", spec.name);
        let title = format!("Deliver role_id and secret_id of {}", spec.name);
        let predecessor =
            if self.wants_keeper()? { Predecessor::LeaveToKeeper } else { Predecessor::Destroy };
        let delivery = provision::deliver(root, spec, &self.dir, predecessor);
        let login = self.report.step(&name, &title, &["approles"], delivery).await?;
        let prove = async {
            let token = root.with_token(login.client_token);
            let access = provision::prove_approle(&token, self.spec.credential_paths()).await;
            token.revoke_self().await?;
            let access = access?;
            let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let detail = format!("may: {}; refused: {}", list(&access.allowed), list(&access.refused));
            Ok::<_, ProvisionError>((Outcome::proven(detail), ()))
        };
        let title = format!("Prove what {} may do", spec.name);
        Ok(self.report.step(&format!("prove {}", spec.name), &title, &[&name], prove).await?)
    }

    /// Everything Vault and one database need of each other.
    async fn connect_and_prove(
        &self,
        root: &Client,
        spec: &DatabaseSpec,
        running: Running,
    ) -> Result<(), LabError> {
        let Some(accounts) = running.accounts else {
            return Err(ProvisionError::not_proven(&spec.name, "the runtime knows no accounts of it").into());
        };
        let mut target = DatabaseTarget {
            spec,
            from_host: Target {
                engine: spec.engine,
                endpoint: running.endpoint,
                database: spec.database.clone(),
            },
            accounts,
        };
        let [start, connection, rotation] =
            ["start", "connection", "rotate-root"].map(|verb| format!("{verb} {}", spec.name));
        let report = &self.report;

        if spec.break_glass || target.accounts.break_glass.is_some() {
            let work = async {
                let outcome = provision::ensure_break_glass(&mut target, &self.dir).await?;
                Ok::<_, ProvisionError>((outcome.unwrap_or(Outcome::Unchanged), ()))
            };
            let title = format!("Keep a break-glass account in {}", spec.name);
            report.step(&format!("break glass {}", spec.name), &title, &[&start], work).await?;
        }

        let connect = async {
            let fresh = root.database_config(&spec.mount, &spec.name).await?.is_none();
            let password = if fresh {
                provision::ensure_first_password(&mut target, &self.dir).await?
            } else {
                target.accounts.admin.password.clone()
            };
            let step = ConnectionStep { spec, from_vault: &running.from_services, password: &password };
            Ok::<_, ProvisionError>((converge(root, [step]).await?, ()))
        };
        let title = format!("Connect Vault to {}", spec.name);
        report.step(&connection, &title, &[&start, "roles"], connect).await?;

        let mut last = connection.as_str();
        if spec.root_rotation != RootRotation::Off {
            let work = async {
                Ok::<_, ProvisionError>((provision::rotate_root(root, &mut target, &self.dir).await?, ()))
            };
            let title = format!("Rotate root of {}", spec.name);
            report.step(&rotation, &title, &[&connection], work).await?;
            last = &rotation;
        }
        for role in &spec.static_roles {
            let work = async {
                let outcome = provision::ensure_static_role(root, &mut target, role, &self.dir).await?;
                Ok::<_, ProvisionError>((outcome, ()))
            };
            let title = format!("Static role {}", role.name);
            report.step(&format!("static role {}", role.name), &title, &[last], work).await?;
        }
        let proofs = spec.roles.iter().map(|role| {
            let target = &target;
            async move {
                let work = async {
                    let detail = provision::prove_role(root, target, role).await?;
                    Ok::<_, ProvisionError>((Outcome::proven(detail), ()))
                };
                let title = format!("Prove role {}", role.name);
                report.step(&format!("prove {}", role.name), &title, &[last], work).await
            }
        });
        try_join_all(proofs).await?;
        Ok(())
    }
}

/// How much longer than `up` may take its root token lives, if it is not revoked.
const ROOT_SPARE: Duration = Duration::from_mins(1);

/// How long a service may take to end in an orderly way.
pub(super) const GRACE: Duration = Duration::from_secs(10);
