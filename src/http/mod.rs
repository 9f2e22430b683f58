//! The relay's HTTP server.
