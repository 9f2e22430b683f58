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

/// MiB resident of this process.
pub fn memory() -> Result<f64> {
    memory_of("self")
}

/// MiB resident of a process; `self` is this one.
pub fn memory_of(process: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok())
        .ok_or("no VmRSS")?;
    Ok(kib / 1024.0)
}

/// Cores that are used between two moments.
pub struct Usage {
    process: String,
    own: f64,
    machine: f64,
    from: std::time::Instant,
}

impl Usage {
    pub fn begin(process: &str) -> Result<Self> {
        Ok(Self {
            process: process.to_owned(),
            own: cpu(process)?,
            machine: machine_cpu()?,
            from: std::time::Instant::now(),
        })
    }

    /// Of the process, and of the whole machine.
    pub fn end(&self) -> Result<(f64, f64)> {
        let elapsed = self.from.elapsed().as_secs_f64();
        let own = (cpu(&self.process)? - self.own) / elapsed;
        Ok((own, (machine_cpu()? - self.machine) / elapsed))
    }
}
