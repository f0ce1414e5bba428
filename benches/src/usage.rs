//! What a server costs: CPU time and memory of all processes of its group.
//!
//! CPU time is read from each process's CPU clock (`clock_getcpuclockid`): user and system time in
//! nanoseconds, threads that ended included. `utime` and `stime` in `/proc/PID/stat` are the same
//! sum rounded to ticks of 10 ms. Memory is the proportional set size, which counts a page shared
//! by a master and its workers once.

use std::{collections::BTreeMap, fs, io, time::Duration};

use nix::{time::clock_getcpuclockid, unistd::Pid};

use crate::error::{Doing, Error, Result};

/// CPU time used so far, by process.
#[derive(Debug)]
pub struct CpuTime(BTreeMap<i32, Duration>);

impl CpuTime {
    pub fn of(group: Pid) -> Result<Self> {
        let mut times = BTreeMap::new();
        for process in processes(group)? {
            let clock = clock_getcpuclockid(process).and_then(nix::time::ClockId::now);
            let time = clock.doing(|| format!("read the CPU clock of process {process}"))?;
            times.insert(process.as_raw(), Duration::from(time));
        }
        Ok(Self(times))
    }

    /// What was used since `earlier`. An error when a process is gone, and its time with it.
    pub fn since(&self, earlier: &Self) -> Result<Duration> {
        if let Some(gone) = earlier
            .0
            .keys()
            .find(|process| !self.0.contains_key(process))
        {
            return Err(Error::Load(format!(
                "process {gone} of the server ended under load"
            )));
        }
        let before = |process| earlier.0.get(process).copied().unwrap_or_default();
        Ok(self
            .0
            .iter()
            .map(|(process, time)| time.saturating_sub(before(process)))
            .sum())
    }
}

/// Proportional set size of the group in KiB.
pub fn memory_kib(group: Pid) -> Result<u64> {
    let mut sum = 0;
    for process in processes(group)? {
        let path = format!("/proc/{process}/smaps_rollup");
        let rollup = fs::read_to_string(&path).doing(|| format!("read {path}"))?;
        let pss = rollup.lines().find_map(|line| {
            let value = line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?;
            value.parse::<u64>().ok()
        });
        sum += pss
            .ok_or_else(|| io::Error::other("no Pss line"))
            .doing(|| format!("read {path}"))?;
    }
    Ok(sum)
}

fn processes(group: Pid) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").doing(|| "read /proc".to_owned())? {
        let entry = entry.doing(|| "read /proc".to_owned())?;
        let Some(process) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end while we look.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if process_group(&stat) == Some(group.as_raw()) {
            found.push(Pid::from_raw(process));
        }
    }
    Ok(found)
}

/// The fifth field of `/proc/PID/stat` (proc(5)). The second, the name, may hold spaces and
/// brackets, so counting starts behind its last bracket.
fn process_group(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_behind_any_process_name() {
        assert_eq!(process_group("17 (a) b) (c) S 1 42 42 0 -1"), Some(42));
        assert_eq!(process_group("17 (nginx"), None);
        assert_eq!(process_group(""), None);
    }

    #[test]
    fn own_cpu_time_grows_with_work() {
        let group = nix::unistd::getpgrp();
        let before = CpuTime::of(group).unwrap();
        let own = std::process::id().cast_signed();
        assert!(before.0[&own] > Duration::ZERO);
        let sum: u64 = (0..5_000_000_u64).map(std::hint::black_box).sum();
        assert!(sum > 0);
        let after = CpuTime::of(group).unwrap();
        assert!(after.0[&own] > before.0[&own]);
        assert!(memory_kib(group).unwrap() > 0);
    }
}
