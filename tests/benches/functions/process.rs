//! Measurements of a process by Linux, valgrind and strace.

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::runtime::{Function, eventually};

/// Memory of a process, in kB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// The part that is private: heap and stack.
    pub(crate) anonymous: u64,
    /// The part that maps files: the binary itself, GeoIP files.
    pub(crate) files: u64,
    /// The maximum that was ever resident.
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

/// The CPU time of a process so far, including ended threads, to a hundredth of a second.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // The name, which may contain anything, is in parentheses. The 12th and 13th fields after it are the
    // ticks in user mode and in the kernel.
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks =
        fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Runs a function under valgrind, which counts its instructions.
pub(crate) fn counted(function: Function) -> Function {
    function.under(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"])
}

/// Ends the one process of a [`counted`] function and returns its instructions.
pub(crate) async fn instructions(function: &Function) -> u64 {
    function.terminate().await;
    let collected = || {
        let logs = function.logs();
        let line = logs.lines().rfind(|line| line.contains("Collected :"))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    eventually("valgrind prints its count", || async { collected().is_some() }).await;
    collected().expect("the count was just found")
}

/// Runs a function under strace, which writes its system calls to a file.
pub(crate) fn traced(function: Function, file: &Path) -> Function {
    // With -D, strace is not the parent of the process.
    function.under(&["strace", "-D", "-f", "-o", file.to_str().expect("a UTF-8 path")])
}

/// Ends the one process of a [`traced`] function and returns its system calls.
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
