//! One run: a publisher, a relay, a player, and what is done to them under way.

use std::time::Duration;

use gstmoq::{
    net::relay::{Relay, RelayConfig},
    netsim::{Proxy, Settings},
    runtime,
};

use crate::{
    burnt_clock::now,
    figures::{Cut, Figures},
    job::{Job, LEAD},
    rig::{
        Result,
        plugins::Plugin,
        publish::seconds,
        run::{GRACE, Process, sleep_until},
    },
};

/// When the fault comes, s after the player's start.
const FAULT: f64 = 5.0;

/// How long the path is cut.
const CUT: Duration = Duration::from_secs(2);

/// How long a relay may take until it has the address of the one before it.
const LIMIT: Duration = Duration::from_secs(5);

/// What happens while the player plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Neither end reaches the relay for a while.
    Cut,
    /// It is killed, and another one started at its address.
    Relay,
    /// It is killed, and another one started.
    Publisher,
}

pub struct Run<'a> {
    pub plugin: &'a Plugin,
    /// What both are told, but for times.
    pub job: Job,
    /// When the player starts, s after a key frame.
    pub join: f64,
}

impl Run<'_> {
    /// Through the relay that the job names.
    pub fn measure(&self) -> Result<Figures> {
        let publisher = Publisher::start(self, &self.job.url)?;
        let player = self.player(&publisher, &self.job.url)?;
        let played = player.0.last(player.1)?;
        Ok(Figures::of(&[publisher.report()?], &played, None))
    }

    /// Through a relay of its own, and paths that can be cut.
    pub fn measure_through(&self, fault: Fault) -> Result<Figures> {
        let mut relay = Some(Relay::start(RelayConfig::local())?);
        let address = relay
            .as_ref()
            .and_then(|relay| relay.bound().first().copied());
        let address = address.ok_or("the relay has an address")?;
        let leg = || {
            Proxy::start_on(
                runtime::handle(),
                ([127, 0, 0, 1], 0).into(),
                address,
                Settings::default(),
            )
        };
        let legs = [leg()?, leg()?];
        let [to_publish, to_play] =
            [&legs[0], &legs[1]].map(|leg| format!("https://{}/", leg.addr()));
        let mut publisher = Publisher::start(self, &to_publish)?;
        let player = self.player(&publisher, &to_play)?;
        sleep_until(publisher.joined(self) + seconds(FAULT));
        let from = now();
        let mut published = Vec::new();
        match fault {
            Fault::Cut => {
                legs.iter().for_each(|leg| leg.cut(CUT));
                std::thread::sleep(CUT);
            }
            Fault::Relay => {
                relay.take().ok_or("it runs")?.stop_blocking(Duration::ZERO);
                relay = Some(relay_at(address)?);
            }
            Fault::Publisher => {
                drop(publisher);
                publisher = Publisher::start(self, &to_publish)?;
            }
        }
        let cut = Cut { from, to: now() };
        let played = player.0.last(player.1)?;
        published.push(publisher.report()?);
        drop(relay);
        Ok(Figures::of(&published, &played, Some(cut)))
    }

    /// And when it ends.
    fn player(&self, publisher: &Publisher, url: &str) -> Result<(Process, u64)> {
        let job = Job {
            url: url.to_owned(),
            start: publisher.joined(self),
            ..self.job.clone()
        };
        let end = job.start + seconds(job.seconds);
        Ok((Process::start(self.plugin, "play", &job)?, end))
    }
}

struct Publisher {
    process: Process,
    /// Running time 0, and the end, ns on the machine's monotonic clock.
    start: u64,
    end: u64,
}

impl Publisher {
    fn start(run: &Run, url: &str) -> Result<Self> {
        let job = Job {
            url: url.to_owned(),
            seconds: LEAD + run.join + run.job.seconds + 0.5,
            ..run.job.clone()
        };
        let process = Process::start(run.plugin, "publish", &job)?;
        let start = process.line(GRACE)?.parse()?;
        let end = start + seconds(job.seconds);
        Ok(Self {
            process,
            start,
            end,
        })
    }

    /// When the player joins.
    fn joined(&self, run: &Run) -> u64 {
        self.start + seconds(LEAD + run.join)
    }

    fn report(&self) -> Result<crate::job::Published> {
        self.process.last(self.end)
    }
}

fn relay_at(address: std::net::SocketAddr) -> Result<Relay> {
    let end = std::time::Instant::now() + LIMIT;
    loop {
        match Relay::start(RelayConfig::new(vec![address])) {
            Ok(relay) => return Ok(relay),
            Err(err) if std::time::Instant::now() >= end => return Err(err.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
