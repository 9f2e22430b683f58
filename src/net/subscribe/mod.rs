//! Finding broadcasts and reading tracks and groups.
