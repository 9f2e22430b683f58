//! Runs the pipelines of README.md and docs/ as they are written.
//!
//! Every fenced block `sh` that starts with `gst-launch-1.0`, comments aside, is one command, as is one of any commands that is marked
//! so, and one word after `sh` says what it is:
//!
//! | Fence | What runs beside it |
//! |---|---|
//! | ```` ```sh ```` | nothing: the pipeline stands for itself |
//! | ```` ```sh relay ```` | nothing; it is the relay of the blocks below |
//! | ```` ```sh publish ```` | the relay |
//! | ```` ```sh play ```` | the relay and the publisher |
//! | ```` ```sh prepare ```` | not a pipeline but commands that make what the blocks below need |
//! | ```` ```sh not-run ```` | not run: it needs a device or a host that tests do not have |
//!
//! "The" relay or publisher is the nearest one above in the same file; a file without one uses the first of README.md.
//! Port 4443 becomes a free port. The blocks of a file run in order in one empty folder, so that one can use what
//! another has recorded. A block passes when every element of it has reached PLAYING, publishers and players are
//! connected, and it ends without an error after SIGINT (or by itself).

mod common;
mod readme_support;

use std::{fs, path::PathBuf};

use readme_support::{
    blocks::{Block, Role, beside, blocks, markdown_files, project, read_blocks},
    rig::{run_file, temporary},
};

fn assert_none(failures: Vec<String>) {
    assert!(
        failures.is_empty(),
        "{} pipelines failed:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

#[test]
fn the_pipelines_of_the_readme_run_as_written() {
    let readme = project().join("README.md");
    assert!(
        !read_blocks(&readme).is_empty(),
        "the README shows no pipeline"
    );
    assert_none(run_file(&readme, &[]));
}

#[test]
fn the_pipelines_of_the_docs_run_as_written() {
    let readme = read_blocks(&project().join("README.md"));
    let files = markdown_files(&project().join("docs"));
    let is_element = |file: &&PathBuf| file.parent().is_some_and(|it| it.ends_with("elements"));
    assert_none(
        files
            .iter()
            .filter(|file| !is_element(file))
            .flat_map(|file| run_file(file, &readme))
            .collect(),
    );
}

/// A test for each page of docs/elements/, so that none of them takes too long.
fn run_page(name: &str) {
    let readme = read_blocks(&project().join("README.md"));
    let page = project().join("docs/elements").join(name);
    assert!(!read_blocks(&page).is_empty(), "{name} shows no pipeline");
    assert_none(run_file(&page, &readme));
}

#[test]
fn the_pipelines_of_connection_run_as_written() {
    run_page("connection.md");
}

#[test]
fn the_pipelines_of_moqsink_run_as_written() {
    run_page("moqsink.md");
}

#[test]
fn the_pipelines_of_moqsrc_run_as_written() {
    run_page("moqsrc.md");
}

#[test]
fn the_pipelines_of_relay_bridge_run_as_written() {
    run_page("relay-bridge.md");
}

#[test]
fn every_page_of_an_element_is_run() {
    let names: Vec<_> = markdown_files(&project().join("docs/elements"))
        .iter()
        .map(|path| path.file_name().expect("a file").to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "connection.md",
            "moqsink.md",
            "moqsrc.md",
            "relay-bridge.md"
        ]
    );
}

/// Otherwise x264enc keeps the 4:4:4 of videotestsrc and of many cameras, which hardware decoders and browsers refuse.
#[test]
fn every_pipeline_that_encodes_h264_says_its_format() {
    let mut files = markdown_files(&project().join("docs"));
    files.push(project().join("README.md"));
    for file in files {
        for block in read_blocks(&file) {
            let (encoders, formats) = (
                block.command.matches("x264enc").count(),
                block.command.matches("format=I420").count(),
            );
            let (path, line) = (file.display(), block.line);
            assert!(formats >= encoders, "{path}:{line}: {}", block.command);
        }
    }
}

#[test]
fn only_fenced_sh_blocks_that_start_with_gst_launch_are_taken() {
    let text = "\
```sh
./scripts/demo
```
```text
gst-launch-1.0 not this
```
```sh relay
gst-launch-1.0 relay-bridge
```
  ```sh play
# Watch it.
gst-launch-1.0 moqsrc \\
  ! fakesink
  ```
```sh prepare
mkdir -p page
touch page/index.html
```
";
    let found = blocks(text).unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[2].role, Role::Prepare);
    assert_eq!((found[0].line, found[0].role), (7, Role::Relay));
    assert_eq!(found[1].command, "gst-launch-1.0 moqsrc \\\n  ! fakesink");
}

#[test]
fn a_block_with_an_unknown_role_or_two_commands_is_refused() {
    assert!(
        blocks("```sh player\ngst-launch-1.0 fakesrc\n```\n")
            .unwrap_err()
            .contains("'player'")
    );
    assert!(
        blocks("```sh\ngst-launch-1.0 a\ngst-launch-1.0 b\n```\n")
            .unwrap_err()
            .contains("more than one")
    );
    assert!(
        blocks("```\ngst-launch-1.0 a\n```\n")
            .unwrap_err()
            .contains("fenced as sh")
    );
}

#[test]
fn a_player_runs_beside_the_nearest_relay_and_publisher_above_it() {
    let block = |line, role| Block {
        line,
        role,
        command: String::new(),
    };
    let readme = [block(1, Role::Relay), block(2, Role::Publish)];
    let page = [
        block(3, Role::Publish),
        block(4, Role::Publish),
        block(5, Role::Play),
        block(6, Role::Publish),
    ];
    let lines = |blocks: Vec<&Block>| blocks.iter().map(|block| block.line).collect::<Vec<_>>();
    assert_eq!(lines(beside(&page, 2, &readme).unwrap()), [1, 4]);
    assert_eq!(lines(beside(&page, 0, &readme).unwrap()), [1]);
    assert!(
        beside(&page, 2, &[])
            .unwrap_err()
            .contains("no Relay block")
    );
}

#[test]
fn a_page_passes_only_when_all_its_pipelines_play_and_end_well() {
    let page = |text: &str| {
        let folder = temporary();
        let path = folder.path().join("page.md");
        fs::write(&path, text).unwrap();
        run_file(&path, &[])
    };
    let good = "\
```sh
gst-launch-1.0 -e videotestsrc is-live=true ! video/x-raw,framerate=30/1 \\
  ! filesink location=frames.raw
```
```sh
gst-launch-1.0 filesrc location=frames.raw num-buffers=3 ! fakesink
```
```sh prepare
cp frames.raw copy.raw
ls copy.raw
```
```sh
gst-launch-1.0 filesrc location=copy.raw num-buffers=3 ! fakesink
```
```sh not-run
gst-launch-1.0 v4l2src ! fakesink
```
";
    assert_none(page(good));

    let bad = |command: &str| page(&format!("```sh\ngst-launch-1.0 {command}\n```\n")).concat();
    assert!(bad("videotestsrc ! no-such-element").contains("no-such-element"));
    assert!(bad("filesrc location=absent ! fakesink").contains("ERROR"));
    assert!(!page("```sh prepare\nfalse\ntrue\n```\n").is_empty());
    assert!(bad("fakesrc num-buffers=1 ! identity error-after=1 ! fakesink").contains("ERROR"));
}
