//! From a URL to a transport session: URL rules, TLS, endpoints, dialling and listening.

mod adapter;

pub use adapter::Session;
