//! From a URL to a transport session: URL rules, TLS, endpoints, dialling and listening.

mod adapter;
pub mod certificate;
pub mod listen;

pub use adapter::Session;
