//! Decoding timestamps from presentation timestamps.
