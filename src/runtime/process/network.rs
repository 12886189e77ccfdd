//! Databases of this host for a Vault in a container: they listen on the gateway of the lab's
//! network as well, and let in Vault's account from that network.

use std::ffi::OsString;
use std::path::PathBuf;

use super::ProcessRuntime;
use super::engine::DatabaseProgram;
use super::spawn::{Launch, RunAs};
use crate::runtime::{HostNetwork, RuntimeError, folder};
use crate::spec::model::ADMIN_USER;

impl ProcessRuntime {
    /// Databases that are started from now on can be reached by this network's containers, too.
    pub(in crate::runtime) fn open_to(&self, network: HostNetwork) {
        // It is the lab's only one: a second call says the same.
        let _ = self.network.set(network);
    }

    /// [`DatabaseProgram::launch`], for everybody who is to reach the server.
    pub(super) fn launch_database(
        &self,
        service: &str,
        program: &DatabaseProgram,
        port: u16,
        user: &RunAs,
        first: &[PathBuf],
    ) -> Result<Launch, RuntimeError> {
        let places = self.places(service);
        let mut launch = program.launch(&places.data, port, user, first);
        let Some(network) = self.network.get() else { return Ok(launch) };
        let addresses = format!("127.0.0.1,{}", network.gateway);
        // Of options that are given twice, the last one counts.
        match program {
            DatabaseProgram::Postgres(_) => {
                let rules = places.root.join("pg_hba.conf");
                user.write_file(&rules, hba(network).as_bytes()).map_err(folder(service, "write", &rules))?;
                let mut file = OsString::from("hba_file=");
                file.push(&rules);
                let listen = format!("listen_addresses={addresses}");
                launch.args.extend(["-c".into(), listen.into(), "-c".into(), file]);
            }
            DatabaseProgram::Mysql(_) => launch.args.push(format!("--bind-address={addresses}").into()),
        }
        Ok(launch)
    }
}

/// Who may log in from where. From the network, Vault's account alone: applications are on the host.
fn hba(network: &HostNetwork) -> String {
    format!(
        "host all all 127.0.0.1/32 scram-sha-256\nhost all {ADMIN_USER} {} scram-sha-256\n",
        network.subnet
    )
}
