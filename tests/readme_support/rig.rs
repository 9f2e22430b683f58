//! Where the commands of a page run, in order and side by side.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    blocks::{Block, Role, beside, read_blocks},
    pipeline::Pipeline,
};
use crate::common::{free_port, launch::our_plugin};

/// How long it must go on playing without an error.
const PLAY_TIME: Duration = Duration::from_millis(500);

/// Where the commands of one file run.
pub struct Rig {
    pub folder: tempfile::TempDir,
    pub plugins: tempfile::TempDir,
    pub port: u16,
}

impl Rig {
    pub fn new() -> Self {
        let rig = Self {
            folder: temporary(),
            plugins: temporary(),
            port: free_port(),
        };
        // A folder with nothing but the plugin: GStreamer loads every library below a plugin path.
        let plugin = our_plugin();
        fs::copy(&plugin, rig.plugins.path().join("libgstmoq.so"))
            .unwrap_or_else(|err| panic!("cannot copy {}: {err}", plugin.display()));
        // Starting from a list of the system's plugins saves scanning them again.
        if let Some(registry) = std::env::var_os("GST_REGISTRY") {
            let _ = fs::copy(registry, rig.plugins.path().join("registry.bin"));
        }
        rig
    }

    /// Runs one block with what it needs beside it.
    pub fn run(&self, block: &Block, beside: &[&Block]) -> Result<(), String> {
        let mut pipelines = Vec::new();
        let mut result = Ok(());
        for block in beside.iter().copied().chain([block]) {
            let pipeline = Pipeline::start(&block.command, self);
            let plays = pipeline.wait_until_playing(block.role);
            pipelines.push((block, pipeline));
            if let Err(error) = plays {
                result = Err(format!("{:?} of line {}: {error}", block.role, block.line));
                break;
            }
        }
        if result.is_ok() {
            let (_, last) = pipelines.last().expect("the block itself was started");
            last.wait(PLAY_TIME, |progress| {
                progress.error.is_some() || progress.ended
            });
        }
        for (block, pipeline) in pipelines.iter_mut().rev() {
            let ended = pipeline
                .end()
                .map_err(|error| format!("{:?} of line {}: {error}", block.role, block.line));
            result = result.and(ended);
        }
        result.map_err(|error| {
            let outputs = pipelines.iter().map(|(block, pipeline)| {
                format!(
                    "  {:?} of line {} said:\n{}",
                    block.role,
                    block.line,
                    pipeline.output()
                )
            });
            format!("{error}\n{}", outputs.collect::<String>())
        })
    }
}

/// Runs commands that end by themselves.
pub fn prepare(commands: &str, folder: &Path) -> Result<(), String> {
    let output = Command::new("sh")
        .args(["-e", "-c", commands])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|err| format!("cannot start sh: {err}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

pub fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Runs every block of a file; returns what went wrong.
pub fn run_file(path: &Path, elsewhere: &[Block]) -> Vec<String> {
    let blocks = read_blocks(path);
    if blocks.is_empty() {
        return Vec::new();
    }
    let rig = Rig::new();
    let mut failures = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        if block.role == Role::NotRun {
            continue;
        }
        let started = Instant::now();
        let result = match block.role {
            Role::Prepare => prepare(&block.command, rig.folder.path()),
            _ => beside(&blocks, index, elsewhere).and_then(|beside| rig.run(block, &beside)),
        };
        let place = format!("{}:{}", path.display(), block.line);
        eprintln!("{place}: {:?} in {:.1?}", result.is_ok(), started.elapsed());
        if let Err(error) = result {
            failures.push(format!("{place}: {error}\n  of: {}", block.command));
        }
    }
    failures
}
