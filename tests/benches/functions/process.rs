//! What Linux knows of a process, and what valgrind and strace count in one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::runtime::{Function, eventually};

/// Memory that a process has, in kB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// The part of it that is the process's own: heap and stack.
    pub(crate) anonymous: u64,
    /// The part of it that mirrors files: the program itself, GeoIP files.
    pub(crate) files: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

pub(crate) fn memory(pid: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        line.trim_matches([':', '\t', ' ']).trim_end_matches(" kB").parse().expect("a number")
    };
    Memory {
        resident: field("VmRSS"),
        anonymous: field("RssAnon"),
        files: field("RssFile"),
        peak: field("VmHWM"),
    }
}

/// The CPU time of a process so far, to a hundredth of a second, threads that have ended included.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // Its name, which may hold anything, is in parentheses; 11 and 12 fields later are the ticks in the
    // program and in the kernel.
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks =
        fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// A function whose instructions are counted.
pub(crate) fn counted(function: Function) -> Function {
    function.under(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"])
}

/// The instructions of a [`counted`] function's one process, which this ends.
pub(crate) async fn instructions(function: &Function) -> u64 {
    function.terminate().await;
    let collected = || {
        let logs = function.logs();
        let line = logs.lines().rfind(|line| line.contains("Collected :"))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    eventually("valgrind tells its count", || async { collected().is_some() }).await;
    collected().expect("it was there a moment ago")
}

/// A function whose system calls are written to a file.
pub(crate) fn traced(function: Function, file: &Path) -> Function {
    // By -D, strace is not between us and the process.
    function.under(&["strace", "-D", "-f", "-o", file.to_str().expect("a path of ours")])
}

/// All system calls of a [`traced`] function's one process, which this ends.
pub(crate) async fn system_calls(function: &Function, file: &Path) -> Vec<String> {
    function.terminate().await;
    let read = || fs::read_to_string(file).unwrap_or_default();
    eventually("strace is done", || async { read().contains("+++ killed") }).await;
    read()
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1.trim_start().to_owned()))
        .filter(|call| !call.starts_with(['+', '-', '<']))
        .collect()
}
