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

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a pipeline may take until all of it plays, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a pipeline that was interrupted may take to end, EOS and drain included.
const END_LIMIT: Duration = Duration::from_secs(15);
/// How long it must go on playing without an error.
const PLAY_TIME: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Alone,
    Relay,
    Publish,
    Play,
    Prepare,
    NotRun,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    /// Line of the opening fence, from 1.
    line: usize,
    role: Role,
    command: String,
}

/// The blocks of a Markdown text that are gst-launch-1.0 commands.
fn blocks(markdown: &str) -> Result<Vec<Block>, String> {
    let mut found = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != "```")
            .collect();
        let body: Vec<&str> = body
            .into_iter()
            .skip_while(|line| line.starts_with('#'))
            .collect();
        let mut words = info.split_whitespace();
        let (language, word) = (words.next(), words.next());
        let is_pipeline = body
            .first()
            .is_some_and(|line| line.starts_with("gst-launch-1.0"));
        if language == Some("text") || !(is_pipeline || word == Some("prepare")) {
            continue;
        }
        let at = |what: &str| format!("line {}: {what}", index + 1);
        if language != Some("sh") {
            return Err(at(
                "a pipeline is fenced as sh, so that it is tested, or as text",
            ));
        }
        let role = match word {
            None => Role::Alone,
            Some("relay") => Role::Relay,
            Some("publish") => Role::Publish,
            Some("play") => Role::Play,
            Some("prepare") => Role::Prepare,
            Some("not-run") => Role::NotRun,
            Some(other) => return Err(at(&format!("unknown role '{other}' of a block"))),
        };
        let is_one = body.iter().rev().skip(1).all(|line| line.ends_with('\\'));
        if !is_one && role != Role::Prepare {
            return Err(at("more than one command in a block"));
        }
        found.push(Block {
            line: index + 1,
            role,
            command: body.join("\n"),
        });
    }
    Ok(found)
}

/// What has to run beside `blocks[index]`, in the order of starting; `elsewhere` are the blocks of README.md.
fn beside<'a>(
    blocks: &'a [Block],
    index: usize,
    elsewhere: &'a [Block],
) -> Result<Vec<&'a Block>, String> {
    let needs: &[Role] = match blocks[index].role {
        Role::Publish => &[Role::Relay],
        Role::Play => &[Role::Relay, Role::Publish],
        Role::Alone | Role::Relay | Role::Prepare | Role::NotRun => &[],
    };
    needs
        .iter()
        .map(|role| {
            let above = blocks[..index].iter().rfind(|block| block.role == *role);
            above
                .or_else(|| elsewhere.iter().find(|block| block.role == *role))
                .ok_or_else(|| format!("line {}: no {role:?} block above it", blocks[index].line))
        })
        .collect()
}

/// What the messages of a pipeline have told so far (`gst-launch-1.0 -m`).
#[derive(Default)]
struct Progress {
    /// Last state that each element said it had reached.
    states: HashMap<String, String>,
    /// A connection to a relay is up.
    connected: bool,
    error: Option<String>,
    ended: bool,
    output: Vec<String>,
}

impl Progress {
    fn read(&mut self, line: &str) {
        if line.starts_with("ERROR") || line.starts_with("WARNING: erroneous pipeline") {
            self.error.get_or_insert_with(|| line.to_owned());
        }
        self.connected |= line.starts_with("Progress: (connect) Connected");
        if let Some((element, state)) = state_changed(line) {
            self.states.insert(element.to_owned(), state.to_owned());
        }
        self.output.push(line.to_owned());
    }

    /// The pipeline plays, and so does every element in it: sinks have got their first buffer.
    fn plays(&self) -> bool {
        self.states.contains_key("pipeline0")
            && self.states.values().all(|state| state == "playing")
    }

    fn not_playing(&self) -> String {
        let stuck = self.states.iter().filter(|(_, state)| *state != "playing");
        let mut stuck: Vec<String> = stuck
            .map(|(element, state)| format!("{element} is {state}"))
            .collect();
        stuck.sort();
        stuck.join(", ")
    }
}

/// Element and new state of a line of `gst-launch-1.0 -m` that tells a change of state.
fn state_changed(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line
        .strip_prefix("Got message #")?
        .split_once("from element \"")?;
    let (element, rest) = rest.split_once("\" (state-changed): ")?;
    let (_, rest) = rest.split_once("new-state=(GstState)")?;
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    Some((element, &rest[..end]))
}

/// One gst-launch-1.0 that runs; killed when dropped.
struct Pipeline {
    child: Child,
    progress: Arc<(Mutex<Progress>, Condvar)>,
}

impl Pipeline {
    fn start(command: &str, rig: &Rig) -> Result<Self, String> {
        let told = command.replacen("gst-launch-1.0", "exec gst-launch-1.0 -m", 1);
        let told = told.replace("4443", &rig.port.to_string());
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("exec 2>&1\n{told}"))
            .current_dir(rig.folder.path())
            .env("GST_PLUGIN_PATH", rig.plugins.path())
            .env("GST_REGISTRY", rig.plugins.path().join("registry.bin"))
            // Without a display autovideosink tries DirectFB, whose library crashes on Debian 12.
            .env("GST_PLUGIN_FEATURE_RANK", "dfbvideosink:NONE")
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|err| format!("cannot start sh: {err}"))?;
        let progress = Arc::<(Mutex<Progress>, Condvar)>::default();
        let stdout = child.stdout.take().expect("stdout is piped");
        let reader = Arc::clone(&progress);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                reader.0.lock().unwrap().read(&line);
                reader.1.notify_all();
            }
            reader.0.lock().unwrap().ended = true;
            reader.1.notify_all();
        });
        Ok(Self { child, progress })
    }

    /// Waits until `done` or the limit; tells whether it was done.
    fn wait(&self, limit: Duration, done: impl Fn(&Progress) -> bool) -> bool {
        let (progress, changed) = &*self.progress;
        let (progress, _) = changed
            .wait_timeout_while(progress.lock().unwrap(), limit, |progress| !done(progress))
            .unwrap();
        done(&progress)
    }

    /// Waits until all of it plays and, for a publisher or player, the relay has it.
    fn wait_until_playing(&self, role: Role) -> Result<(), String> {
        let connects = matches!(role, Role::Publish | Role::Play);
        let up = |progress: &Progress| progress.plays() && (progress.connected || !connects);
        self.wait(START_LIMIT, |p| up(p) || p.error.is_some() || p.ended);
        let progress = self.progress.0.lock().unwrap();
        if let Some(error) = &progress.error {
            return Err(error.clone());
        }
        // One that ended by itself is judged by its exit code.
        if up(&progress) || progress.ended {
            return Ok(());
        }
        let wrong = match progress.plays() {
            true => "no connection to the relay".to_owned(),
            false => progress.not_playing(),
        };
        Err(format!("not up after {START_LIMIT:?}: {wrong}"))
    }

    /// Ends it as Ctrl-C does.
    fn end(&mut self) -> Result<(), String> {
        if !self.progress.0.lock().unwrap().ended {
            let pid = self.child.id().to_string();
            let _ = Command::new("kill")
                .args(["-INT", &pid])
                .stderr(Stdio::null())
                .status();
        }
        if !self.wait(END_LIMIT, |progress| progress.ended) {
            return Err(format!("does not end {END_LIMIT:?} after SIGINT"));
        }
        let status = self.child.wait().map_err(|err| err.to_string())?;
        let progress = self.progress.0.lock().unwrap();
        match &progress.error {
            Some(error) => Err(error.clone()),
            None if status.success() => Ok(()),
            None => Err(format!("gst-launch-1.0 ended with {status}")),
        }
    }

    fn output(&self) -> String {
        let progress = self.progress.0.lock().unwrap();
        let own = progress
            .output
            .iter()
            .filter(|line| !line.starts_with("Got message #"));
        own.map(|line| format!("    {line}\n")).collect()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the commands of one file run.
struct Rig {
    folder: tempfile::TempDir,
    plugins: tempfile::TempDir,
    port: u16,
}

impl Rig {
    fn new() -> Self {
        let rig = Self {
            folder: temporary(),
            plugins: temporary(),
            port: free_port(),
        };
        // A folder with nothing but the plugin: GStreamer loads every library below a plugin path.
        let plugin = plugin_file();
        fs::copy(&plugin, rig.plugins.path().join("libgstmoq.so"))
            .unwrap_or_else(|err| panic!("cannot copy {}: {err}", plugin.display()));
        // Starting from a list of the system's plugins saves scanning them again.
        if let Some(registry) = std::env::var_os("GST_REGISTRY") {
            let _ = fs::copy(registry, rig.plugins.path().join("registry.bin"));
        }
        rig
    }

    /// Runs one block with what it needs beside it.
    fn run(&self, block: &Block, beside: &[&Block]) -> Result<(), String> {
        let mut pipelines = Vec::new();
        let mut result = Ok(());
        for block in beside.iter().copied().chain([block]) {
            let pipeline = Pipeline::start(&block.command, self)?;
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
fn prepare(commands: &str, folder: &Path) -> Result<(), String> {
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

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A port that is free for UDP and TCP alike: the relay listens on both.
fn free_port() -> u16 {
    (0..100)
        .find_map(|_| {
            let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
            let port = tcp.local_addr().ok()?.port();
            UdpSocket::bind(("127.0.0.1", port)).ok()?;
            Some(port)
        })
        .expect("a free port")
}

/// The plugin of this build: cargo puts it beside the tests, and one folder up when it was asked for it by name.
fn plugin_file() -> PathBuf {
    let test = std::env::current_exe().expect("path of the test");
    let deps = test.parent().expect("the test is in a folder");
    let name = "libgstmoq.so";
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    [deps.join(name), deps.join("..").join(name)]
        .into_iter()
        .filter(|path| modified(path).is_some())
        .max_by_key(modified)
        .unwrap_or_else(|| panic!("no {name} in {}: run 'cargo build' first", deps.display()))
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read_blocks(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    blocks(&text).unwrap_or_else(|err| panic!("{}, {err}", path.display()))
}

/// The Markdown files of a folder and those below it, in order.
fn markdown_files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|err| panic!("{}: {err}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    entries
        .into_iter()
        .flat_map(|path| match path.is_dir() {
            true => markdown_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// Runs every block of a file; returns what went wrong.
fn run_file(path: &Path, elsewhere: &[Block]) -> Vec<String> {
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
