//! Writing broadcasts, tracks and groups.
