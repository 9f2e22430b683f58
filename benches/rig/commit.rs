//! What a page says of the sources that it measured.

use std::process::Command;

/// The commit, and whether more was changed since than the pages themselves.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["describe", "--always"]) else {
        return "unknown".to_owned();
    };
    let others = ["diff", "--quiet", "HEAD", "--", ".", ":!docs/benchmarks"];
    let changed = git(&others).is_none();
    format!("{commit}{}", if changed { "-dirty" } else { "" })
}
