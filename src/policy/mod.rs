//! Timing and loss decisions. Pure: time is an argument.
