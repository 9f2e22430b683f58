//! From a URL to a transport session: URL rules, TLS, endpoints, dialling and listening.

mod adapter;
pub mod address;
pub mod certificate;
pub mod congestion;
mod development;
mod dial;
pub mod endpoint;
pub(in crate::net) mod failure;
mod gate;
pub mod listen;
mod outbox;
mod qlog;
mod race;
mod secrets;
pub mod tls;
pub mod versions;
mod wire;

pub use adapter::Session;
pub use address::{Address, parse as parse_url, redact, redact_text, take_broadcast};
pub use dial::{Dial, Dialed, dial};
pub use outbox::{Deadline, Deadlines};
pub use race::Eagerness;
pub use tls::parse_pin;
pub use wire::Wire;
