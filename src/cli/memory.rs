//! What a process that idles has of its program in memory.
//!
//! To begin, a keeper or a server reads its configuration, parses arguments, sets up TLS: code that it does
//! not run again, and that is most of what the system counts as its memory. Those pages belong to the page
//! cache, which all of a machine's keepers and servers, being the same program, share. Here a process lets
//! go of them; what it still runs comes back from the cache, page by page, without a read from the disk.

use std::convert::Infallible;
use std::time::Duration;

/// By then a process has begun.
const BEGUN: Duration = Duration::from_secs(5);

/// What is seldom done, such as starting a service, brings pages back: this often they are let go of.
const AGAIN: Duration = Duration::from_mins(10);

/// Does some work that waits most of the time, and lets go of the program's unused pages meanwhile.
pub async fn lean<T>(work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        never = let_go_of_program() => match never {},
    }
}

async fn let_go_of_program() -> Infallible {
    tokio::time::sleep(BEGUN).await;
    loop {
        #[cfg(target_os = "linux")]
        for pages in linux::unwritten(&std::fs::read_to_string("/proc/self/smaps").unwrap_or_default()) {
            linux::let_go(&pages);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ops::Range;

    use rustix::mm::{Advice, madvise};

    /// The mappings of files, in the text of `smaps` (proc_pid_smaps(5)), that hold just what is in the
    /// file: they cannot be written to, and were not before they were made so.
    pub fn unwritten(smaps: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut current = None;
        for line in smaps.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some(range), Some(mode)) if !range.ends_with(':') => {
                    found.extend(current.take());
                    let inode = words.nth(2);
                    let of_file = inode.is_some_and(|inode| inode != "0");
                    let bounds = range.split_once('-').filter(|_| of_file && matches!(mode, "r-xp" | "r--p"));
                    current = bounds.and_then(|(start, end)| {
                        let address = |text| usize::from_str_radix(text, 16).ok();
                        Some(address(start)?..address(end)?)
                    });
                }
                // Pages of the loader's: it wrote addresses into what is constant from then on.
                (Some("Anonymous:" | "Swap:"), Some(kilobytes)) if kilobytes != "0" => current = None,
                _ => {}
            }
        }
        found.extend(current);
        found
    }

    #[expect(unsafe_code, reason = "the system's call; what is at these addresses stays what it was")]
    pub fn let_go(pages: &Range<usize>) {
        let start = std::ptr::without_provenance_mut(pages.start);
        // SAFETY: the mapping is of a file and nothing in it was ever written (`unwritten`), nor can it be,
        // for want of the permission. Whoever reads there next gets the same bytes from the same file.
        // A mapping that cannot be let go of stays.
        let _ = unsafe { madvise(start, pages.len(), Advice::LinuxDontNeed) };
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const SMAPS: &str = "\
55d0c0000000-55d0c0400000 r--p 00000000 fe:00 77                         /usr/bin/vaultlab
Rss:                2000 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me sd
55d0c0400000-55d0c1000000 r-xp 00400000 fe:00 77                         /usr/bin/vaultlab
Anonymous:             0 kB
Swap:                  0 kB
55d0c1000000-55d0c1100000 r--p 01000000 fe:00 77                         /usr/bin/vaultlab
Anonymous:           900 kB
Swap:                  0 kB
55d0c1100000-55d0c1200000 r--p 01100000 fe:00 77                         /usr/bin/vaultlab
Anonymous:             0 kB
Swap:                  4 kB
55d0c1200000-55d0c1300000 rw-p 01200000 fe:00 77                         /usr/bin/vaultlab
Anonymous:             0 kB
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xs 00000000 fe:00 78                         /shared
Anonymous:             0 kB
";

        #[test]
        fn only_what_is_in_a_file_as_it_is_mapped_is_let_go_of() {
            assert_eq!(
                unwritten(SMAPS),
                [0x55d0_c000_0000..0x55d0_c040_0000, 0x55d0_c040_0000..0x55d0_c100_0000]
            );
        }

        /// This test itself runs on afterwards.
        #[test]
        fn a_program_that_let_go_of_itself_is_the_same() {
            let smaps = || std::fs::read_to_string("/proc/self/smaps").unwrap();
            let resident = |smaps: &str| -> u64 {
                let lines = smaps.lines().filter_map(|line| line.strip_prefix("Rss:"));
                lines.filter_map(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).sum()
            };
            let before = smaps();
            let mappings = unwritten(&before);
            assert!(mappings.len() >= 2, "{before}");
            mappings.iter().for_each(let_go);
            let after = smaps();
            assert!(resident(&after) < resident(&before));
            assert_eq!(unwritten(&after), mappings);
        }
    }
}
