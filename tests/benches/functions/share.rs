//! A cold start at Lambda's share of a processor: the INIT phase has a whole one, each invocation as much as
//! the function's memory buys (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
//!
//! The share is the quota of a cgroup, for which this has to run as root, with the `cpu` controller of
//! cgroup v1 or v2 mounted. Otherwise nothing is measured.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use crate::start::milliseconds;
use crate::world::{Name, TIMEOUT, Variant, World};
use crate::{Records, median};

/// Memory at which a function has a whole processor, in MB.
const ONE_CPU_MB: u64 = 1_769;

const MEMORY_MB: [u64; 5] = [128, 256, 512, 1_024, ONE_CPU_MB];

/// Starts of which the medians are taken.
const STARTS: usize = 9;

/// The period of the quota, in microseconds. Lambda grants its share in small slices, too.
const PERIOD: u64 = 20_000;

pub(crate) async fn measure(world: &World, records: &Records) {
    let Some(group) = Group::new() else {
        println!("no cgroup can be made here: the share of a processor is not measured");
        return;
    };
    for name in Name::ALL {
        for memory_mb in MEMORY_MB {
            group.grant(PERIOD * memory_mb / ONE_CPU_MB);
            let mut init = Vec::new();
            let mut answers = [Vec::new(), Vec::new()];
            for _ in 0..STARTS {
                let payloads = [world.payload(name, 1), world.payload(name, 1)];
                let function = world.function(name, Variant::DEFAULT, 1);
                let (pid, ready) = function.start_ahead().await;
                init.push(ready);
                group.add(pid);
                for (times, payload) in answers.iter_mut().zip(payloads) {
                    let start = Instant::now();
                    function.invoke_bytes(payload, TIMEOUT).await.expect("a response");
                    times.push(start.elapsed());
                }
                function.terminate().await;
            }
            records.add(&json!({
                "kind": "share",
                "function": name.text(),
                "memory_mb": memory_mb,
                "init_milliseconds": milliseconds(median(&init)),
                "answer_milliseconds": answers.map(|times| milliseconds(median(&times))),
                "starts": STARTS,
            }));
        }
    }
}

/// A cgroup with a quota; removed at the end.
struct Group {
    folder: PathBuf,
    is_v2: bool,
}

impl Group {
    fn new() -> Option<Self> {
        let is_v2 = fs::exists("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|exists| exists);
        let root = if is_v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/cpu" };
        let folder = PathBuf::from(format!("{root}/auth0-log-streams-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        Some(Self { folder, is_v2 })
    }

    /// Grants its processes this many microseconds of each [`PERIOD`], all together.
    fn grant(&self, quota: u64) {
        if self.is_v2 {
            self.write("cpu.max", &format!("{quota} {PERIOD}"));
        } else {
            self.write("cpu.cfs_period_us", &PERIOD.to_string());
            self.write("cpu.cfs_quota_us", &quota.to_string());
        }
    }

    fn add(&self, pid: u32) {
        self.write("cgroup.procs", &pid.to_string());
    }

    fn write(&self, file: &str, value: &str) {
        fs::write(self.folder.join(file), value).expect("a cgroup takes its settings");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty as soon as its last process is gone.
        drop(fs::remove_dir(&self.folder));
    }
}
