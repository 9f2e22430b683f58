//! Congestion controllers under real QUIC connections in virtual time.
//!
//! | Part | What it is |
//! |---|---|
//! | [`world`] | one path, the connections on it, and the time |
//! | [`node`] | one end of a connection: quinn's protocol core without sockets |
//! | [`apps`] | what is sent: live video with sound, or as much as goes |
//! | [`report`] | what came of it |
//!
//! Pacing, loss detection, probe timeouts and streams are quinn's own, so that what holds here holds there; the path
//! is that of `moq-netsim`.

pub mod apps;
pub mod node;
pub mod report;
pub mod world;
