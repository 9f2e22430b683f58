//! One run: a relay by itself in a new process, one publisher, and an audience.

use std::{
    collections::HashSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use super::{
    audience::{self, Arrival, LATE, Subscriber},
    dial::{Role, dial},
    figures::Figures,
    publisher::Publisher,
};
use crate::rig::{
    Result,
    figures::Percentiles,
    process::{Usage, memory},
    relays::{routes, version},
    stream::Stream,
};

/// From the first object to the measured time: the audience subscribed before it.
const WARM_UP: Duration = Duration::from_secs(2);

/// From the end of the measured time to the last object, and again until nothing is waited for any more.
const TAIL: Duration = Duration::from_secs(1);

pub struct Run<'a> {
    pub relay: &'a String,
    pub stream: Arc<Stream>,
    pub subscribers: usize,
    /// s
    pub seconds: f64,
    /// Threads that receive.
    pub workers: usize,
}

/// What a stream has to last for so many measured seconds, s.
pub fn length(seconds: f64) -> f64 {
    (WARM_UP + TAIL).as_secs_f64() + seconds
}

/// What was sent and what came, times in ns since the run's origin.
struct Seen {
    sent: Vec<u64>,
    arrivals: Vec<Vec<Arrival>>,
    /// The measured time.
    from: u64,
    until: u64,
}

impl Run<'_> {
    pub fn measure(&self) -> Result<Figures> {
        let folder = tempfile::tempdir()?;
        // New for each run, so that none pays for the memory of the one before.
        let (_relays, routes) = routes(std::slice::from_ref(self.relay), folder.path())?;
        let route = Arc::new(routes.into_iter().next().ok_or("a relay was named")?);
        let process = route.process.ok_or("the relay's process is not ours")?;
        let process = process.to_string();
        let memory_before = memory(&process)?;

        let origin = Instant::now();
        let publishing = runtime("publisher", 1)?;
        let (peer, mut publisher) = publishing.block_on(async {
            let peer = dial(&route, Role::Publisher).await?;
            let publisher = Publisher::announce(&peer)?;
            Result::Ok((peer, publisher))
        })?;
        let listening = runtime("subscribers", self.workers)?;
        let mut audience = listening.block_on(audience::gather(route, self.subscribers, origin))?;

        let stream = self.stream.clone();
        let sending = thread::spawn(move || {
            let sent = publisher.send(&stream, origin);
            // The tracks last for as long as somebody reads.
            sent.map(|sent| (sent, publisher))
        });
        thread::sleep(WARM_UP);
        let from = nanos(origin.elapsed());
        let (relay, generator) = (Usage::begin(&process)?, Usage::begin("self")?);
        thread::sleep(Duration::from_secs_f64(self.seconds));
        let (relay, generator) = (relay.end()?, generator.end()?);
        let until = nanos(origin.elapsed());
        let memory = memory(&process)?;
        thread::sleep(2 * TAIL);
        let (sent, publisher) = sending.join().map_err(|_| "the publisher panicked")??;
        let lost = audience.iter_mut().filter_map(Subscriber::lost).count();
        let arrivals = audience.iter().map(Subscriber::take).collect();
        drop((publisher, peer));
        listening.shutdown_timeout(TAIL);
        publishing.shutdown_timeout(TAIL);
        if lost > 0 {
            return Err(format!("{lost} of {} tracks were lost", 2 * self.subscribers).into());
        }
        let seen = Seen {
            sent,
            arrivals,
            from,
            until,
        };
        let latencies = seen.latencies();
        Ok(Figures {
            version: version(self.relay)?,
            subscribers: self.subscribers,
            relay: relay.cpu,
            generator: generator.cpu,
            machine: relay.machine,
            memory_before,
            memory,
            late: latencies
                .iter()
                .filter(|ms| **ms > LATE.as_secs_f64() * 1000.0)
                .count(),
            missing: seen.expected() * self.subscribers - latencies.len(),
            latency: Percentiles::of(latencies),
        })
    }
}

impl Seen {
    fn is_measured(&self, sent: u64) -> bool {
        (self.from..self.until).contains(&sent)
    }

    /// Objects that each subscriber should have.
    fn expected(&self) -> usize {
        self.sent
            .iter()
            .filter(|sent| self.is_measured(**sent))
            .count()
    }

    /// Of each object that a subscriber has, once, ms.
    fn latencies(&self) -> Vec<f64> {
        let mut latencies = Vec::new();
        for arrivals in &self.arrivals {
            let mut had = HashSet::new();
            for Arrival { mark, at } in arrivals {
                if self.is_measured(mark.sent) && had.insert(mark.number) {
                    latencies.push(at.saturating_sub(mark.sent) as f64 / 1e6);
                }
            }
        }
        latencies
    }
}

fn runtime(name: &str, workers: usize) -> Result<Runtime> {
    Ok(Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(name)
        .enable_all()
        .build()?)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
