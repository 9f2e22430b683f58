//! A path emulator in user space for UDP and TCP: what the binary `moq-netsim` and the tests put between a client and a relay.
//!
//! | Part | What it is |
//! |---|---|
//! | [`Path`] | one direction of a path: delay, jitter, loss, rate, queue, outage; pure, time passed in |
//! | [`Proxy`] | listens on a port and forwards to a target through two paths, which may change under way |
//! | [`Schedule`] | changes over time |
//! | [`Scenario`] | all of it from a file |
//! | [`units`] | `20ms`, `1%`, `20Mbit`, `5@1%`: the notations of the command line |
//!
//! ```no_run
//! use std::time::Duration;
//! use gstmoq::netsim::{PathSettings, Probability, Proxy, Settings};
//!
//! # async fn run(relay: std::net::SocketAddr) -> Result<(), gstmoq::netsim::StartError> {
//! let path = PathSettings {
//!     delay: Duration::from_millis(20),
//!     loss: Probability::percent(3.0),
//!     ..Default::default()
//! };
//! let proxy = Proxy::start(([127, 0, 0, 1], 0).into(), relay, Settings::symmetric(path, 7))?;
//! let url = format!("http://{}/", proxy.addr());
//! # Ok(())
//! # }
//! ```

mod alarm;
mod change;
mod client;
mod codel;
mod lane;
mod line;
mod loss;
mod packet;
mod path;
mod proxy;
mod queue;
mod random;
mod scenario;
mod schedule;
mod settings;
mod socket;
mod stats;
mod stream;
mod tcp;
pub mod units;

pub use change::{ChangeError, KEYS, Key, PathChange};
pub use loss::{Bursts, Probability};
pub use packet::{Ecn, Packet};
pub use path::{LossReason, Path};
pub use proxy::{Protocol, Proxy, Settings, StartError, Tcp};
pub use scenario::{Leg, Scenario, ScenarioError};
pub use schedule::{Schedule, ScheduleError, Step};
pub use settings::{
    Aqm, CoDelSettings, JitterShape, Order, Outage, PathSettings, QueueLimit, Rate,
};
pub use stats::{DirectionStats, Losses, Stats, Traffic};
