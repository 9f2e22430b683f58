//! The player page in Chromium, served by a relay of ours.
//!
//! `scripts/test` builds the page and names it, and what drives the browser, in MOQ_WEB_PAGE and MOQ_WEB_MODULES. What the browser
//! does is in `tests/browser/`; each scenario says what has happened in lines of JSON.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use gst::prelude::*;
use serde_json::Value;

use super::{Pipeline, init};

pub const BROADCAST: &str = "studio/camera.hang";

/// Chromium starts, and software decodes, while other tests have the processor.
const LIMIT: Duration = Duration::from_secs(60);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test, which builds the page, or scripts/test --quick to do without")
    })
}

/// A relay on a free port that serves the page at `/`, and its URL.
pub struct Relay {
    pub url: String,
    pipeline: Pipeline,
}

impl Relay {
    pub fn start() -> Self {
        Self::listen("127.0.0.1:0", "")
    }

    /// With properties of relay-bridge that are not those of the tests.
    pub fn listen(address: &str, public_subscribe: &str) -> Self {
        init();
        let relay = gst::ElementFactory::make("relay-bridge")
            .property("listen", address)
            .property("public-subscribe", public_subscribe)
            .property("web-root", variable("MOQ_WEB_PAGE"))
            .build()
            .expect("an element");
        let pipeline = Pipeline(gst::Pipeline::new());
        pipeline.0.add(&relay).expect("added");
        pipeline.set(gst::State::Playing);
        let url = relay
            .property::<Option<String>>("bound-url")
            .expect("it listens");
        Self { url, pipeline }
    }

    /// As a pipeline that ends does: GOAWAY, and the sessions that stay are closed.
    pub fn stop(&self) {
        self.pipeline.set(gst::State::Null);
    }

    /// On its port again, with another certificate.
    pub fn start_again(&self) {
        let port = self.url.trim_end_matches('/').rsplit(':').next();
        let relay = self.pipeline.0.children().pop().expect("the relay");
        relay.set_property("listen", format!("127.0.0.1:{}", port.expect("a port")));
        self.pipeline.set(gst::State::Playing);
    }
}

/// A scenario of `tests/browser/`; it is killed when the test ends, and Chromium follows.
pub struct Browser {
    process: Child,
    events: mpsc::Receiver<Value>,
}

impl Browser {
    pub fn run(scenario: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/browser")
            .join(scenario);
        let mut process = Command::new("node")
            .arg(script)
            .args(arguments)
            .env("MOQ_WEB_MODULES", variable("MOQ_WEB_MODULES"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js runs");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (tell, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("a line of JSON");
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        Self { process, events }
    }

    /// The next event, which is to be this one.
    pub fn wait(&self, name: &str) -> Value {
        let event = self
            .events
            .recv_timeout(LIMIT)
            .unwrap_or_else(|err| panic!("waiting for '{name}': {err}"));
        assert_eq!(event["event"], name, "{event:#}");
        event
    }

    /// What it waits for has happened.
    pub fn go_on(&mut self) {
        let input = self.process.stdin.as_mut().expect("piped");
        writeln!(input).expect("it listens");
    }

    pub fn finish(mut self) {
        assert!(self.process.wait().expect("it ended").success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
