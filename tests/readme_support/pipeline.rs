//! One gst-launch-1.0, judged by what it prints.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use super::{blocks::Role, rig::Rig};
use crate::common::process::Process;

/// How long a pipeline may take until all of it plays, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a pipeline that was interrupted may take to end, EOS and drain included.
const END_LIMIT: Duration = Duration::from_secs(15);
/// What the messages of a pipeline have told so far (`gst-launch-1.0 -m`).
#[derive(Default)]
pub struct Progress {
    /// Last state that each element said it had reached.
    states: HashMap<String, String>,
    /// A connection to a relay is up.
    connected: bool,
    pub error: Option<String>,
    pub ended: bool,
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
pub struct Pipeline {
    process: Process,
    progress: Arc<(Mutex<Progress>, Condvar)>,
}

impl Pipeline {
    pub fn start(command: &str, rig: &Rig) -> Self {
        let told = command.replacen("gst-launch-1.0", "exec gst-launch-1.0 -m", 1);
        let told = told.replace("4443", &rig.port.to_string());
        let mut command = Command::new("sh");
        command
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
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command);
        let progress = Arc::<(Mutex<Progress>, Condvar)>::default();
        let stdout = process.stdout();
        let reader = Arc::clone(&progress);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                reader.0.lock().unwrap().read(&line);
                reader.1.notify_all();
            }
            reader.0.lock().unwrap().ended = true;
            reader.1.notify_all();
        });
        Self { process, progress }
    }

    /// Waits until `done` or the limit; tells whether it was done.
    pub fn wait(&self, limit: Duration, done: impl Fn(&Progress) -> bool) -> bool {
        let (progress, changed) = &*self.progress;
        let (progress, _) = changed
            .wait_timeout_while(progress.lock().unwrap(), limit, |progress| !done(progress))
            .unwrap();
        done(&progress)
    }

    /// Waits until all of it plays and, for a publisher or player, the relay has it.
    pub fn wait_until_playing(&self, role: Role) -> Result<(), String> {
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
    pub fn end(&mut self) -> Result<(), String> {
        if !self.progress.0.lock().unwrap().ended {
            self.process.interrupt();
        }
        if !self.wait(END_LIMIT, |progress| progress.ended) {
            return Err(format!("does not end {END_LIMIT:?} after SIGINT"));
        }
        let status = self.process.wait_end();
        let progress = self.progress.0.lock().unwrap();
        match &progress.error {
            Some(error) => Err(error.clone()),
            None if status.success() => Ok(()),
            None => Err(format!("gst-launch-1.0 ended with {status}")),
        }
    }

    pub fn output(&self) -> String {
        let progress = self.progress.0.lock().unwrap();
        let own = progress
            .output
            .iter()
            .filter(|line| !line.starts_with("Got message #"));
        own.map(|line| format!("    {line}\n")).collect()
    }
}
