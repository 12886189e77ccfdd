//! A lab as a fixture of a test-suite: `cargo run --example fixture`.
//!
//! In a test-suite of another crate, point `LabOptions::program` (or `VAULTLAB_BIN`) at an installed
//! `vaultlab`: it serves the embedded Vault where the host has no `vault` or `bao`.

use vaultlab::{Lab, LabError};

#[tokio::main]
async fn main() -> Result<(), LabError> {
    let lab = Lab::open("lab/vaultlab.yaml")?.named("fixture")?.up().await?;
    println!("Vault answers at {}", lab.vault().address());
    for database in lab.databases() {
        println!("{} answers at {}", database.name, database.endpoint());
    }
    for role in ["pg-read", "mysql-write"] {
        let credential = lab.credential(role).await?;
        println!("{role}: {} for {} s", credential.username, credential.ttl());
        lab.revoke(&credential).await?;
    }
    lab.remove().await?;
    Ok(())
}
