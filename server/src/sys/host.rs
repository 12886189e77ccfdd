//! `sys/host-info`: the machine, as far as the system tells; what it does not is a warning.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};

use crate::logical::{Object, Response};

/// What can be found out.
pub fn info() -> Response {
    let mut response = Response::json(json!({ "timestamp": Timestamp::now().to_string() }));
    for (name, found) in
        [("cpu", cpu()), ("cpu_times", cpu_times()), ("disk", disk()), ("host", host()), ("memory", memory())]
    {
        match (found, &mut response.data) {
            (Ok(value), Some(data)) => {
                data.insert(name.to_owned(), value);
            }
            (Err(error), _) => {
                response.warnings.push(format!("unable to collect {name} information: {error}"));
            }
            (Ok(_), None) => {}
        }
    }
    response
}

/// The machine's name; empty where the system does not tell.
pub fn name() -> String {
    kernel("hostname").unwrap_or_default().trim().to_owned()
}

fn kernel(name: &str) -> Result<String, String> {
    read(&format!("/proc/sys/kernel/{name}"))
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// A number of `/proc`, 0 for what is none.
fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_default()
}

/// `/proc/cpuinfo`, one object for each processor.
fn cpu() -> Result<Value, String> {
    let text = read("/proc/cpuinfo")?;
    let processors = text.split("\n\n").filter(|block| block.contains("processor"));
    let shown = processors.map(|block| {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim())
            });
            line.unwrap_or_default()
        };
        json!({
            "cpu": number(field("processor")),
            "vendorId": field("vendor_id"),
            "family": field("cpu family"),
            "model": field("model"),
            "stepping": number(field("stepping")),
            "physicalId": field("physical id"),
            "coreId": field("core id"),
            "cores": 1,
            "modelName": field("model name"),
            "mhz": field("cpu MHz").parse::<f64>().unwrap_or_default(),
            "cacheSize": number(field("cache size").trim_end_matches(" KB")),
            "flags": field("flags").split_whitespace().collect::<Vec<_>>(),
            "microcode": field("microcode"),
        })
    });
    Ok(shown.collect())
}

/// `/proc/stat`: seconds by processor.
fn cpu_times() -> Result<Value, String> {
    const FIELDS: [&str; 10] =
        ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestNice"];
    let text = read("/proc/stat")?;
    let lines = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    let shown = lines.map(|line| {
        let mut words = line.split_whitespace();
        let mut times = Object::new();
        times.insert("cpu".to_owned(), json!(words.next()));
        for (field, ticks) in FIELDS.iter().zip(words) {
            // In hundredths of a second on every Linux there is.
            times.insert((*field).to_owned(), json!(number(ticks) as f64 / 100.0));
        }
        Value::Object(times)
    });
    Ok(shown.collect())
}

/// The mounted file systems that are on devices, as Vault shows them: any other may not answer at all, as a
/// network share or FUSE whose other side is gone.
fn disk() -> Result<Value, String> {
    let known = read("/proc/filesystems")?;
    let on_devices = on_devices(&known);
    let text = read("/proc/self/mounts")?;
    let mut shown = Vec::new();
    for line in text.lines() {
        let [_, path, kind, ..] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        if !on_devices.contains(&kind) || !Path::new(path).is_dir() {
            continue;
        }
        let Ok(found) = statvfs(path) else { continue };
        let total = found.blocks() * found.fragment_size();
        let free = found.blocks_available() * found.fragment_size();
        let used = (found.blocks() - found.blocks_free()) * found.fragment_size();
        let inodes_used = found.files() - found.files_free();
        shown.push(json!({
            "path": path,
            "fstype": kind,
            "total": total,
            "free": free,
            "used": used,
            "usedPercent": percent(used, used + free),
            "inodesTotal": found.files(),
            "inodesUsed": inodes_used,
            "inodesFree": found.files_free(),
            "inodesUsedPercent": percent(inodes_used, found.files()),
        }));
    }
    Ok(shown.into())
}

/// The types of file systems in `/proc/filesystems` that are on devices (proc(5)), and ZFS, which does not say so.
fn on_devices(known: &str) -> Vec<&str> {
    let kinds = known.lines().filter_map(|line| line.split_once('\t'));
    kinds.filter(|(mark, kind)| *mark != "nodev" || *kind == "zfs").map(|(_, kind)| kind).collect()
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn host() -> Result<Value, String> {
    let uptime = read("/proc/uptime")?;
    let stat = read("/proc/stat")?;
    let booted = stat.lines().find_map(|line| line.strip_prefix("btime ")).unwrap_or_default();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let of_release = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let processes = fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    let processes = processes
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .count();
    Ok(json!({
        "hostname": kernel("hostname")?.trim(),
        "uptime": number(uptime.split('.').next().unwrap_or_default()),
        "bootTime": number(booted),
        "procs": processes,
        "os": std::env::consts::OS,
        "platform": of_release("ID"),
        "platformFamily": of_release("ID_LIKE"),
        "platformVersion": of_release("VERSION_ID"),
        "kernelVersion": kernel("osrelease")?.trim(),
        "kernelArch": std::env::consts::ARCH,
        "virtualizationSystem": "",
        "virtualizationRole": "",
        "hostid": fs::read_to_string("/etc/machine-id").unwrap_or_default().trim(),
    }))
}

/// `/proc/meminfo` in bytes.
fn memory() -> Result<Value, String> {
    let text = read("/proc/meminfo")?;
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        number(line.unwrap_or_default().trim().trim_end_matches(" kB")) * 1024
    };
    let (total, free, buffers) = (of("MemTotal"), of("MemFree"), of("Buffers"));
    let cached = of("Cached") + of("SReclaimable");
    let used = total.saturating_sub(free + buffers + cached);
    Ok(json!({
        "total": total,
        "available": of("MemAvailable"),
        "used": used,
        "usedPercent": percent(used, total),
        "free": free,
        "active": of("Active"),
        "inactive": of("Inactive"),
        "wired": 0,
        "laundry": 0,
        "buffers": buffers,
        "cached": cached,
        "writeback": of("Writeback"),
        "dirty": of("Dirty"),
        "writebacktmp": of("WritebackTmp"),
        "shared": of("Shmem"),
        "slab": of("Slab"),
        "sreclaimable": of("SReclaimable"),
        "sunreclaim": of("SUnreclaim"),
        "pagetables": of("PageTables"),
        "swapcached": of("SwapCached"),
        "commitlimit": of("CommitLimit"),
        "committedas": of("Committed_AS"),
        "hightotal": of("HighTotal"),
        "highfree": of("HighFree"),
        "lowtotal": of("LowTotal"),
        "lowfree": of("LowFree"),
        "swaptotal": of("SwapTotal"),
        "swapfree": of("SwapFree"),
        "mapped": of("Mapped"),
        "vmalloctotal": of("VmallocTotal"),
        "vmallocused": of("VmallocUsed"),
        "vmallocchunk": of("VmallocChunk"),
        "hugepagestotal": of("HugePages_Total") / 1024,
        "hugepagesfree": of("HugePages_Free") / 1024,
        "hugepagesize": of("Hugepagesize"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_file_systems_on_devices_are_asked() {
        let known = "nodev\tproc\nnodev\tfuse\n\text4\nnodev\tnfs4\n\tfuseblk\nnodev\tzfs\n";
        assert_eq!(on_devices(known), ["ext4", "fuseblk", "zfs"]);
    }
}
