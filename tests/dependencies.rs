//! docs/dependencies.md says why each dependency is here.

use std::{collections::BTreeSet, fs, path::Path};

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The crates that a manifest names in its tables of dependencies.
fn direct(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            inside = table.trim_end_matches(']').ends_with("dependencies");
        } else if let (true, Some((key, value))) = (inside, line.split_once(" = ")) {
            let renamed = value.split_once("package = \"");
            let name = renamed.map_or(key, |(_, rest)| rest.split('"').next().unwrap_or(rest));
            names.insert(name.to_owned());
        }
    }
    names
}

/// The names in the first column of the tables.
fn explained(document: &str) -> BTreeSet<String> {
    document
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .filter_map(|entry| entry.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_direct_dependency_is_explained() {
    let direct = direct(&read("Cargo.toml"));
    for name in ["tokio", "gstreamer", "gst-plugin-version-helper", "hang"] {
        assert!(direct.contains(name), "{name} is not found in Cargo.toml");
    }
    let explained = explained(&read("docs/dependencies.md"));
    let missing: Vec<_> = direct.difference(&explained).collect();
    assert!(
        missing.is_empty(),
        "not in docs/dependencies.md: {missing:?}"
    );
}
