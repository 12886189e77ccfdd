//! The disk that the files are on is full.

use std::process::Command;
use std::time::Duration;

use crate::client::Application;
use crate::support::{TestLab, eventually};

/// A small file system of its own; needs root, and the right to mount.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &std::path::Path) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"]).arg(folder);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(folder.into()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_the_old_one_stays_and_the_failure_is_told() {
    let lab = TestLab::new("full");
    let folder = lab.folder.path().join("disk");
    let Some(_disk) = SmallDisk::mount(&folder) else {
        eprintln!("skipped: a file system can be mounted by root only");
        return;
    };
    lab.write(
        "vaultlab.yaml",
        "apiVersion: vaultlab/v1\nvault: {flavour: embedded}\n\
         policies:\n  - name: p\n    hcl: 'path \"secret/*\" { capabilities = [\"read\"] }'\n\
         approles:\n  - {name: app, policies: [p], secret_id_ttl: 30s,\n     \
         deliver: {role_id: disk/role_id, secret_id: disk/secret_id}}\n",
    );
    lab.ok(&["up", "--progress", "quiet"]);
    let file = folder.join("secret_id");
    let before = std::fs::read(&file).expect("a secret_id");
    let files = ["role_id", "secret_id"].map(|file| folder.join(file));
    let application = Application::reading(&lab, files, Duration::from_millis(50));
    // Whatever is free.
    let filler = folder.join("filler");
    let _ = std::fs::write(&filler, vec![0_u8; 100 * 1024]);
    lab.until_events("delivery_failed", 1);
    assert_eq!(std::fs::read(&file).expect("the old one"), before);
    let failed = &lab.keeper_events("delivery_failed")[0];
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("No space left")), "{failed}");
    eventually("status tells it", Duration::from_secs(20), || {
        lab.ok(&["status"]).contains("No space left on device")
    });
    // Nothing was made that could not be written.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    let live = runtime.block_on(lab.as_keeper().secret_id_accessors("app")).expect("Vault");
    assert_eq!(live.len(), 1);
    std::fs::remove_file(&filler).expect("remove");
    eventually("it is delivered after all", Duration::from_secs(30), || {
        std::fs::read(&file).is_ok_and(|now| now != before)
    });
    eventually("status tells that too", Duration::from_secs(20), || {
        !lab.ok(&["status"]).contains("No space left on device")
    });
    application.end().assert_never_refused();
    let left: Vec<_> =
        std::fs::read_dir(&folder).expect("the folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
}
