//! What the tests against programs of others saw, for docs/interop.md.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use gst::prelude::*;
use gstmoq::net::relay::{PeerStats, Relay};

/// One line of the table. Written only after everything that it says was seen.
pub struct Row<'a> {
    /// Name and version of the other program, which [`version`] asks it for.
    pub peer: &'a str,
    /// From whom to whom, e.g. `moqsink → moq-gst`.
    pub direction: &'a str,
    /// Codec, container, catalog.
    pub what: &'a str,
    /// Protocol version and transport: of [`at_relay`] or [`of_element`].
    pub path: &'a str,
    /// Decoded pictures that differ from each other.
    pub pictures: usize,
    /// Whether sound was decoded that is no silence; `None` where there is none.
    pub sound: Option<bool>,
}

/// Keeps a row for `scripts/test --interop`, which names the folder in MOQ_INTEROP_DIR. Without it nothing is kept.
pub fn record(row: &Row<'_>) {
    let Some(folder) = std::env::var_os("MOQ_INTEROP_DIR").map(PathBuf::from) else {
        return;
    };
    let sound = match row.sound {
        Some(true) => "decoded",
        Some(false) => "silent",
        None => "—",
    };
    let Row {
        peer,
        direction,
        what,
        path,
        pictures,
        ..
    } = row;
    let line = format!("| {peer} | {direction} | {what} | {path} | {pictures} | {sound} |\n");
    let name: String = format!("{peer} {direction} {what} {path}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), line).expect("written");
}

/// The version that stands in what a program says when it is asked for it: the first word after `before`, without what follows a hyphen.
pub fn version(command: &mut Command, before: &str) -> String {
    let output = command.env_remove("G_DEBUG").output();
    let output = output.unwrap_or_else(|err| panic!("{command:?}: {err}"));
    let said = String::from_utf8_lossy(&output.stdout);
    version_in(&said, before)
}

/// The same, of a text.
pub fn version_in(text: &str, before: &str) -> String {
    let after = text.lines().find_map(|line| {
        let after = line.trim().strip_prefix(before)?;
        after.split_whitespace().next()
    });
    let word = after.unwrap_or_else(|| panic!("no version after '{before}' in: {text}"));
    let version = word.split('-').next().unwrap_or_default();
    let version = version.trim_end_matches(':');
    assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{word}");
    version.to_owned()
}

/// Those of a relay's sessions whose path is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Sessions {
    /// That announce broadcasts.
    Publishers,
    /// That are subscribed to tracks.
    Subscribers,
    All,
}

impl Sessions {
    fn has(self, broadcasts: u64, subscriptions: u64) -> bool {
        match self {
            Self::Publishers => broadcasts > 0,
            Self::Subscribers => subscriptions > 0,
            Self::All => true,
        }
    }
}

/// Version and transport of these sessions, as the relay sees them now. They have to be alike.
pub fn at_relay(relay: &Relay, which: Sessions) -> String {
    let peers = relay.stats().peers;
    let has = |peer: &&PeerStats| which.has(peer.broadcasts, peer.subscriptions);
    let path = |peer: &PeerStats| path(&peer.info.version, peer.info.transport);
    alike(which, peers.iter().filter(has).map(path))
}

/// The same of a relay-bridge.
pub fn at_relay_bridge(relay: &gst::Element, which: Sessions) -> String {
    let stats: gst::Structure = relay.property("stats");
    let peers: gst::Array = stats.get("peers").expect("peers");
    let paths = peers.iter().filter_map(|peer| {
        let peer: gst::Structure = peer.get().expect("a structure");
        let number = |field| peer.get::<u64>(field).expect("a number");
        let text = |field| peer.get::<String>(field).expect("a text");
        which
            .has(number("broadcasts"), number("subscriptions"))
            .then(|| path(&text("version"), &text("transport")))
    });
    alike(which, paths)
}

/// Version and transport of moqsink's or moqsrc's session, as it says.
pub fn of_element(element: &gst::Element) -> String {
    let stats: gst::Structure = element.property("stats");
    let transport: gst::Structure = stats.get("transport").expect("it runs");
    let text = |field| transport.get::<String>(field).expect("it is connected");
    let version = text("version");
    assert_eq!(element.property::<String>("moq-version"), version);
    path(&version, &text("kind"))
}

fn path(version: &str, transport: &str) -> String {
    let transport = match transport {
        "webtransport" => "WebTransport",
        "quic" => "raw QUIC",
        other => panic!("transport {other}"),
    };
    format!("{version}, {transport}")
}

fn alike(which: Sessions, paths: impl Iterator<Item = String>) -> String {
    let paths: BTreeSet<String> = paths.collect();
    assert_eq!(paths.len(), 1, "{which:?}: {paths:?}");
    paths.into_iter().next().expect("one")
}
