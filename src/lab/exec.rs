//! Running a program with the lab in its environment.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::env::apply_map;
use super::{Lab, LabError, RoleCredential, RunningLab, Variable};
use crate::secret::Secret;
use crate::spec::model::Engine;
use crate::vault::{AppRolePair, Client};

/// What a program gets.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// The token is that of this AppRole, and the leases are those its policies allow, instead of
    /// the lab's own token and a lease for every role.
    pub approle: Option<String>,
    /// The token is a root token, made through the unseal keys for as long as the program runs.
    pub root: bool,
    /// Only these roles.
    pub roles: Vec<String>,
    /// `NEW=EXISTING` pairs: variables under the application's own names.
    pub map: Vec<(String, String)>,
}

/// A program's root token is renewed while it runs; if this program is killed, it ends so soon.
const ROOT_TTL: Duration = Duration::from_mins(15);

impl RunningLab {
    /// Runs `program` with Vault's address, a token, and one coherent lease pair per role in its
    /// environment. Signals to this process are passed on; leases are renewed while it runs, and
    /// the token and every lease made with it are revoked when it ends.
    pub async fn exec(
        &self,
        program: &OsString,
        arguments: &[OsString],
        options: &ExecOptions,
    ) -> Result<ExitStatus, LabError> {
        // From here on no signal ends this process before the leases are revoked.
        let mut signals = Signals::catch()?;
        let session = Session::open(self, options).await?;
        let result = session.run(program, arguments, &mut signals).await;
        self.warn_unless_revoked(session.close().await);
        result
    }

    /// The program's own exit code matters more than a lease that ends with its TTL.
    fn warn_unless_revoked(&self, revoked: Result<(), LabError>) {
        if let Err(error) = revoked {
            self.lab()
                .report()
                .warn(format!("could not revoke the leases, they end with their TTL: {error}"));
        }
    }

    /// Runs the database's own client (`psql`, `mariadb` or `mysql`) with a fresh credential of
    /// `role`, which is revoked when the client ends.
    pub async fn connect(&self, role: &str, arguments: &[OsString]) -> Result<ExitStatus, LabError> {
        let mut signals = Signals::catch()?;
        let credential = self.credential(role).await?;
        let result = tokio::select! {
            result = run_client(&credential, arguments, &mut signals) => result,
            never = keep_renewed(self, self.vault(), std::slice::from_ref(&credential)) => match never {},
        };
        self.warn_unless_revoked(self.revoke(&credential).await);
        result
    }
}

impl Lab {
    /// Runs the database's own client with the account that the lab keeps in it outside Vault.
    pub async fn connect_break_glass(
        &self,
        database: &str,
        arguments: &[OsString],
    ) -> Result<ExitStatus, LabError> {
        let mut signals = Signals::catch()?;
        run_client(&self.break_glass(database).await?, arguments, &mut signals).await
    }
}

/// What a client of Vault goes by, each as `VAULT_…` and as OpenBao's `BAO_…`: one that is inherited would
/// send the lab's token elsewhere, or ask the lab's Vault for what it does not have.
const VAULT_SETTINGS: [&str; 16] = [
    "ADDR",
    "AGENT_ADDR",
    "PROXY_ADDR",
    "HTTP_PROXY",
    "TOKEN",
    "NAMESPACE",
    "CACERT",
    "CACERT_BYTES",
    "CAPATH",
    "CLIENT_CERT",
    "CLIENT_KEY",
    "TLS_SERVER_NAME",
    "SKIP_VERIFY",
    "SRV_LOOKUP",
    "DISABLE_REDIRECTS",
    "WRAP_TTL",
];

/// Takes the variables out of a program's environment whose names `is_foreign` knows.
fn without(command: &mut Command, is_foreign: impl Fn(&str) -> bool) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(&is_foreign) {
            command.env_remove(name);
        }
    }
}

/// Runs the database's own client with a credential, and with none of the settings that the user has for
/// other servers: they would send the credential to another host, or another password to this one.
async fn run_client(
    credential: &RoleCredential,
    arguments: &[OsString],
    signals: &mut Signals,
) -> Result<ExitStatus, LabError> {
    let RoleCredential { endpoint, database, username, password, .. } = credential;
    let (program, mut command) = match credential.engine {
        Engine::Postgres => {
            let mut command = Command::new("psql");
            without(&mut command, |name| name.starts_with("PG"));
            command
                .env("PGHOST", &endpoint.host)
                .env("PGPORT", endpoint.port.to_string())
                .env("PGDATABASE", database)
                .env("PGUSER", username)
                .env("PGPASSWORD", password.expose());
            ("psql", command)
        }
        Engine::Mysql(_) => {
            let program = if which::which("mariadb").is_ok() { "mariadb" } else { "mysql" };
            let mut command = Command::new(program);
            without(&mut command, |name| {
                // History and prompt are the user's own.
                let own = ["_HISTFILE", "_HISTIGNORE", "_PS1"].iter().any(|end| name.ends_with(end));
                !own && ["MYSQL_", "MARIADB_", "LIBMYSQL_"].iter().any(|start| name.starts_with(start))
            });
            command
                // Must be the first. MySQL reads ~/.mylogin.cnf all the same, unless it is elsewhere.
                .arg("--no-defaults")
                .env("MYSQL_TEST_LOGIN_FILE", "/dev/null/none")
                .args(["--protocol=tcp", "--host", &endpoint.host, "--port", &endpoint.port.to_string()])
                .args(["--user", username, "--database", database])
                .env("MYSQL_PWD", password.expose());
            (program, command)
        }
    };
    command.args(arguments);
    signals.pass_on_to(spawn(program, &mut command)?).await
}

/// A token of the program's own and the leases made with it.
struct Session<'a> {
    lab: &'a RunningLab,
    vault: Client,
    credentials: Vec<RoleCredential>,
    variables: Vec<Variable>,
}

impl<'a> Session<'a> {
    async fn open(lab: &'a RunningLab, options: &ExecOptions) -> Result<Self, LabError> {
        let token = match &options.approle {
            _ if options.root => root_token(lab).await?,
            None => lab.vault().create_token("vaultlab exec").await?,
            Some(name) => lab.login(name).await?,
        };
        let vault = lab.vault().with_token(token.clone());
        let mut session = Self { lab, vault, credentials: Vec::new(), variables: lab.variables() };
        match session.prepare(token, options).await {
            Ok(()) => Ok(session),
            Err(error) => {
                // The first error is the one to tell.
                let _ = session.close().await;
                Err(error)
            }
        }
    }

    async fn prepare(&mut self, token: Secret, options: &ExecOptions) -> Result<(), LabError> {
        for variable in &mut self.variables {
            if variable.name == "VAULT_TOKEN" {
                variable.value = token.clone();
            }
        }
        let known: Vec<_> = self.lab.lab().spec().credential_paths().collect();
        for (path, role) in &known {
            if !options.roles.is_empty() && !options.roles.iter().any(|wanted| wanted == role) {
                continue;
            }
            if options.approle.is_some() && !self.vault.capabilities(path).await?.iter().any(|c| c == "read")
            {
                continue;
            }
            let credential = self.lab.credential_with(&self.vault, role).await?;
            self.variables.extend(credential.variables());
            self.credentials.push(credential);
        }
        for wanted in options.roles.iter().filter(|wanted| known.iter().all(|(_, role)| role != *wanted)) {
            self.lab.role(wanted)?;
        }
        apply_map(&mut self.variables, &options.map)
    }

    async fn run(
        &self,
        program: &OsString,
        arguments: &[OsString],
        signals: &mut Signals,
    ) -> Result<ExitStatus, LabError> {
        let mut command = Command::new(program);
        command.args(arguments);
        without(&mut command, |name| {
            let setting = name.strip_prefix("VAULT_").or_else(|| name.strip_prefix("BAO_"));
            setting.is_some_and(|setting| VAULT_SETTINGS.contains(&setting))
        });
        for variable in &self.variables {
            command.env(&variable.name, variable.value.expose());
        }
        let child = spawn(&program.to_string_lossy(), &mut command)?;
        tokio::select! {
            status = signals.pass_on_to(child) => status,
            never = keep_renewed(self.lab, &self.vault, &self.credentials) => match never {},
        }
    }

    /// Revokes the leases, waiting for each account to be gone, and then the token with whatever
    /// else the program made with it.
    async fn close(&self) -> Result<(), LabError> {
        let mut result = Ok(());
        for credential in &self.credentials {
            result = result.and(self.lab.revoke(credential).await);
        }
        result.and(self.vault.revoke_self().await.map_err(Into::into))
    }
}

/// Renews a token and the leases of credentials when two thirds of the shortest TTL are over. A lease ends at
/// its maximum all the same, which is the role's own rule: that is told once it is in sight.
async fn keep_renewed(
    lab: &RunningLab,
    vault: &Client,
    credentials: &[RoleCredential],
) -> std::convert::Infallible {
    let token = vault.token_ttl().await.ok().filter(|ttl| *ttl > 0);
    let mut renewed: Vec<_> = credentials.iter().filter_map(|c| Some((c, c.lease_id()?))).collect();
    let leases = renewed.iter().map(|(credential, _)| credential.ttl());
    // A token without end and no lease: nothing is to renew.
    let Some(shortest) = leases.chain(token).min() else { return std::future::pending().await };
    let shortest = shortest.max(3);
    loop {
        tokio::time::sleep(Duration::from_secs(shortest * 2 / 3)).await;
        if let Err(error) = vault.renew_self().await {
            tracing::warn!(%error, "cannot renew the token");
        }
        let mut lasting = Vec::new();
        for (credential, lease) in renewed {
            match vault.renew_lease(lease, None).await {
                // Less than it began with: this is its last renewal.
                Ok(left) if left < credential.ttl() => lab.lab().report().warn(format!(
                    "the credential of {} ends in {left} s: it has reached its max_ttl",
                    credential.role
                )),
                Ok(_) => lasting.push((credential, lease)),
                Err(error) => {
                    tracing::warn!(%error, role = credential.role, "cannot renew the lease");
                    lasting.push((credential, lease));
                }
            }
        }
        renewed = lasting;
    }
}

/// A root token of the program's own, which is revoked when it ends.
async fn root_token(lab: &RunningLab) -> Result<Secret, LabError> {
    let root = lab.root(ROOT_TTL).await?;
    match root.client().token() {
        Some(token) if !root.is_kept() => Ok(token.clone()),
        _ => Ok(root.client().create_token("vaultlab exec").await?),
    }
}

impl RunningLab {
    /// Logs in as an AppRole with the pair that is delivered for it.
    pub async fn login(&self, approle: &str) -> Result<Secret, LabError> {
        let Some(found) = self.summary().approles.into_iter().find(|a| a.name == approle) else {
            return Err(LabError::UnknownAppRole {
                lab: self.lab().name().into(),
                approle: approle.into(),
                known: self.lab().spec().approles.iter().map(|a| a.name.clone()).collect(),
            });
        };
        let read = |path: std::path::PathBuf| {
            std::fs::read_to_string(&path)
                .map(|text| Secret::new(text.trim()))
                .map_err(|source| LabError::File { operation: "read", path, source })
        };
        let mut pair =
            AppRolePair { role_id: read(found.role_id_file)?, secret_id: read(found.secret_id_file)? };
        let specs = &self.lab().spec().approles;
        if specs.iter().any(|spec| spec.name == approle && spec.deliver.wrap_ttl.is_some()) {
            // As an application does; the keeper delivers another.
            pair.secret_id = self.vault().unwrap_secret_id(&pair.secret_id).await?.secret_id;
        }
        Ok(self.vault().login_approle(&pair).await?.client_token)
    }
}

/// Whether the terminal, wherever standard input comes from, sends its signals to this process group.
fn in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    nix::unistd::tcgetpgrp(terminal).is_ok_and(|group| group == nix::unistd::getpgrp())
}

fn spawn(program: &str, command: &mut Command) -> Result<Child, LabError> {
    command.spawn().map_err(|source| LabError::Program { program: program.into(), source })
}

/// The signals that are passed on to a child. They are caught from the moment this is made; one
/// that comes before there is a child reaches it when it starts.
struct Signals {
    caught: Vec<(nix::sys::signal::Signal, Signal)>,
    /// From a terminal, Ctrl-C and Ctrl-\ reach the child by themselves: it is in the same process
    /// group.
    from_terminal: bool,
}

impl Signals {
    fn catch() -> Result<Self, LabError> {
        use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
        let catch = |number: nix::sys::signal::Signal| {
            let caught = signal(SignalKind::from_raw(number as i32));
            caught
                .map(|caught| (number, caught))
                .map_err(|source| LabError::Program { program: "with signals passed on".into(), source })
        };
        let caught = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2].map(catch);
        Ok(Self { caught: caught.into_iter().collect::<Result<_, _>>()?, from_terminal: in_foreground() })
    }

    /// The next signal to pass on.
    async fn next(&mut self) -> nix::sys::signal::Signal {
        use nix::sys::signal::Signal::{SIGINT, SIGQUIT};
        let from_terminal = self.from_terminal;
        std::future::poll_fn(|context| {
            for (number, caught) in &mut self.caught {
                if caught.poll_recv(context).is_ready()
                    && !(from_terminal && matches!(number, SIGINT | SIGQUIT))
                {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Waits for the child, passing on what comes.
    async fn pass_on_to(&mut self, mut child: Child) -> Result<ExitStatus, LabError> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(nix::unistd::Pid::from_raw);
        loop {
            tokio::select! {
                status = child.wait() => {
                    return status.map_err(|source| LabError::Program { program: "the program".into(), source });
                }
                number = self.next() => if let Some(pid) = pid {
                    // It may have ended in this moment; then `wait` says so.
                    let _ = nix::sys::signal::kill(pid, number);
                }
            }
        }
    }
}
