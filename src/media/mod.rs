//! Catalogs, containers and codec strings. Pure: no sockets, no clocks, no GStreamer.
