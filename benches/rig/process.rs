//! What the system counts of a process: processor time and memory. Linux.

use std::fs;

use super::Result;

/// Clock ticks a second of /proc; the same on every Linux.
const TICKS: f64 = 100.0;

/// CPU seconds that a process has used; `self` is this one.
pub fn cpu(process: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the process, in parentheses, may hold spaces.
    let fields = stat.rsplit_once(')').ok_or("a strange /proc/…/stat")?.1;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / TICKS)
}

/// CPU seconds that the machine has been busy.
pub fn machine_cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let times: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, then idle and iowait, then the interrupts.
    let busy: f64 = times
        .iter()
        .take(3)
        .chain(times.iter().skip(5).take(3))
        .sum();
    Ok(busy / TICKS)
}

/// MiB resident of a process; `self` is this one.
pub fn memory(process: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    Ok(count(&status, "VmRSS:").ok_or("no VmRSS")? / 1024.0)
}

/// How often those threads of a process that still live have slept and were woken.
fn wakeups(process: &str) -> Result<f64> {
    let mut all = 0.0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // One that has ended meanwhile says nothing.
        let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        all += count(&status, "voluntary_ctxt_switches:").unwrap_or(0.0);
    }
    Ok(all)
}

fn count(status: &str, field: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    value.split_whitespace().next()?.parse().ok()
}

/// What is used between two moments.
pub struct Usage {
    process: String,
    own: f64,
    machine: f64,
    wakeups: f64,
    from: std::time::Instant,
}

/// Cores of the process and of the whole machine, and wake-ups of the process a second.
pub struct Used {
    pub cpu: f64,
    pub machine: f64,
    pub wakeups: f64,
}

impl Usage {
    pub fn begin(process: &str) -> Result<Self> {
        Ok(Self {
            process: process.to_owned(),
            own: cpu(process)?,
            machine: machine_cpu()?,
            wakeups: wakeups(process)?,
            from: std::time::Instant::now(),
        })
    }

    pub fn end(&self) -> Result<Used> {
        let elapsed = self.from.elapsed().as_secs_f64();
        Ok(Used {
            cpu: (cpu(&self.process)? - self.own) / elapsed,
            machine: (machine_cpu()? - self.machine) / elapsed,
            wakeups: (wakeups(&self.process)? - self.wakeups) / elapsed,
        })
    }
}
