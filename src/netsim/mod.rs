//! A UDP path emulator in user space: what the binary `moq-netsim` and the tests put between a client and a relay.
//!
//! | Part | What it is |
//! |---|---|
//! | [`Path`] | one direction of a path: delay, jitter, loss, rate, queue, outage; pure, time passed in |
//! | [`Proxy`] | listens on a UDP port and forwards to a target through two paths |
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

mod client;
mod lane;
mod line;
mod loss;
mod path;
mod proxy;
mod random;
mod stats;
mod tcp;
pub mod units;

pub use loss::{Bursts, Probability};
pub use path::{LossReason, Order, Outage, Path, PathSettings, QueueLimit, Rate, Verdict};
pub use proxy::{Protocol, Proxy, Settings, StartError};
pub use stats::{DirectionStats, Losses, Stats, Traffic};
