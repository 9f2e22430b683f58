//! Speaks MoQ. The only folder that names `moq_net`, `quinn` or `rustls`.

pub mod config;
pub mod error;
pub mod publish;
pub mod relay;
pub mod requests;
pub mod session;
pub mod subscribe;
pub mod transport;

pub use config::ConnectConfig;
pub use error::{Cause, Error};
