//! What the tests against programs of others saw, for docs/interop.md.

use std::{fs, path::PathBuf};

/// One line of the table. Written only after everything that it says was seen.
pub struct Row<'a> {
    /// Name and version of the other program.
    pub peer: &'a str,
    /// From whom to whom, e.g. `moqsink → moq-gst`.
    pub direction: &'a str,
    /// Codec, container, catalog.
    pub what: &'a str,
    /// Protocol version and transport; the relay where it is not ours.
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
