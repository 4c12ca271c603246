//! A program that is run and watched: its processor time and its memory, with those of the processes that it starts.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::process::Command;

use crate::error::BenchError;

/// How long after a look the next one comes: soon at first, then seldom, since looking takes time from what is measured.
/// What a process uses after the last look before its end is not seen.
const PERIODS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What a program printed and used.
#[derive(Debug)]
pub struct Watched {
    /// Its last line on standard output.
    pub last_line: String,
    /// From its start to its end.
    pub wall: Duration,
    /// Processor time, all processes together.
    pub cpu: Duration,
    /// The most memory that all processes had at once, in bytes. Pages that they share count for each.
    pub peak_rss: u64,
    /// The same at the end of each tenth of the looks, about a tenth of a long run: whether it grows.
    pub rss_over_time: Vec<u64>,
}

/// Runs a program to its end, which is good with one of these exit codes. What it says on standard error is shown only if
/// it fails.
pub async fn watch(mut command: Command, good: &[i32]) -> Result<Watched, BenchError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |reason: String| BenchError::Program {
        program: program.clone(),
        reason,
    };
    let start = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let root = child.id().map(Pid::from_u32);
    let mut usage = Usage::default();
    let mut ended = std::pin::pin!(child.wait_with_output());
    let output = loop {
        tokio::select! {
            output = &mut ended => break output,
            () = tokio::time::sleep((start.elapsed() / 50).clamp(PERIODS.0, PERIODS.1)) => usage.sample(root),
        }
    };
    let wall = start.elapsed();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.code().is_some_and(|code| good.contains(&code)) {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{} ({})", words.trim(), output.status)));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    Ok(Watched {
        last_line: printed.lines().last().unwrap_or_default().to_owned(),
        wall,
        cpu: usage.cpu.values().sum(),
        peak_rss: usage.rss.iter().copied().max().unwrap_or(0),
        rss_over_time: tenths(&usage.rss),
    })
}

/// The memory of one process, in bytes; 0 once it has ended.
pub fn memory(process: Option<u32>) -> u64 {
    let Some(pid) = process.map(Pid::from_u32) else {
        return 0;
    };
    let mut system = System::new();
    let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    system.process(pid).map_or(0, sysinfo::Process::memory)
}

/// What was seen of a process and those that it started.
#[derive(Default)]
struct Usage {
    system: System,
    /// The last that was seen of each, also of those that have ended.
    cpu: HashMap<Pid, Duration>,
    rss: Vec<u64>,
}

impl Usage {
    fn sample(&mut self, root: Option<Pid>) {
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let mut rss = 0;
        for (&pid, process) in self.system.processes() {
            let family =
                |pid: Option<Pid>| pid.is_some() && (pid == root || pid.is_some_and(|pid| self.cpu.contains_key(&pid)));
            // A worker of a worker is found at the look after its parent was.
            if process.thread_kind().is_none() && (family(Some(pid)) || family(process.parent())) {
                self.cpu
                    .insert(pid, Duration::from_millis(process.accumulated_cpu_time()));
                rss += process.memory();
            }
        }
        self.rss.push(rss);
    }
}

/// The last value of each tenth.
fn tenths(values: &[u64]) -> Vec<u64> {
    (1..=10)
        .filter_map(|tenth| values.get((values.len() * tenth / 10).checked_sub(1)?).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_program_and_its_child_are_seen() {
        let mut command = Command::new("sh");
        // The child takes processor time; the parent only waits.
        command.args([
            "-c",
            "sh -c 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; sleep 0.3'; echo first; echo '{}'",
        ]);
        let seen = watch(command, &[0]).await.unwrap();
        assert_eq!(seen.last_line, "{}");
        assert!(seen.cpu > Duration::from_millis(50), "{seen:?}");
        assert!(seen.peak_rss > 500_000, "{seen:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failure_says_what_the_program_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no photos >&2; exit 2"]);
        let error = watch(command, &[0, 1]).await.unwrap_err().to_string();
        assert!(error.contains("no photos"), "{error}");
    }

    #[test]
    fn a_run_in_tenths() {
        assert_eq!(
            tenths(&(1..=20).collect::<Vec<_>>()),
            [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
        );
        assert_eq!(tenths(&[7]), [7]);
    }
}
