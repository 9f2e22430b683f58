//! The player page in Chromium, served by a relay of ours.
//!
//! `scripts/test` builds the page and names it, and what drives the browser, in MOQ_WEB_PAGE and MOQ_WEB_MODULES. What the browser
//! does is in `tests/browser/`; each scenario says what has happened in lines of JSON.

use std::{
    io::{BufRead, BufReader, Write},
    net::IpAddr,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use gst::prelude::*;
use serde_json::Value;

use super::{
    Pipeline, init,
    interop::{Sessions, at_relay_bridge, version_in},
    process::Process,
};

pub const BROADCAST: &str = "studio/camera.hang";

/// Chromium starts, and software decodes, while other tests have the processor.
const LIMIT: Duration = Duration::from_secs(60);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test, which builds the page, or scripts/test --quick to do without")
    })
}

/// Name and version of the package that the page is made of, and the browser.
pub fn peer(package: &str) -> String {
    let licences = Path::new(&variable("MOQ_WEB_PAGE")).join("licences.txt");
    let licences = std::fs::read_to_string(licences).expect("the page has licences.txt");
    let version = version_in(&licences, &format!("{package} "));
    format!("{package} {version}, Chromium")
}

fn outer_address() -> IpAddr {
    let interfaces = if_addrs::get_if_addrs().expect("addresses");
    let mut addresses = interfaces.into_iter().map(|interface| interface.ip());
    addresses
        .find(|ip| ip.is_ipv4() && !ip.is_loopback())
        .expect("this machine has no IPv4 address but loopback, which others cannot reach: give it one, or run scripts/test --quick")
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

    /// On every address, open to others in both directions, and its URL at one of this machine's that is not loopback.
    pub fn reachable() -> (Self, String) {
        let address = outer_address();
        let relay = Self::listen("0.0.0.0:0", "**");
        let url = relay.url.replace("127.0.0.1", &address.to_string());
        (relay, url)
    }

    /// `public`: what others may publish and play.
    fn listen(address: &str, public: &str) -> Self {
        init();
        let relay = gst::ElementFactory::make("relay-bridge")
            .property("listen", address)
            .property("public-subscribe", public)
            .property("public-publish", public)
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

    /// Version and transport of these sessions.
    pub fn path(&self, which: Sessions) -> String {
        at_relay_bridge(&self.element(), which)
    }

    fn element(&self) -> gst::Element {
        self.pipeline.0.children().pop().expect("the relay")
    }

    /// As a pipeline that ends does: GOAWAY, and the sessions that stay are closed.
    pub fn stop(&self) {
        self.pipeline.set(gst::State::Null);
    }

    /// On its port again, with another certificate.
    pub fn start_again(&self) {
        let port = self.url.trim_end_matches('/').rsplit(':').next();
        self.element()
            .set_property("listen", format!("127.0.0.1:{}", port.expect("a port")));
        self.pipeline.set(gst::State::Playing);
    }
}

/// A scenario of `tests/browser/`; it is killed when the test ends, and Chromium follows.
pub struct Browser {
    process: Process,
    input: ChildStdin,
    events: mpsc::Receiver<Value>,
}

impl Browser {
    pub fn run(scenario: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/browser")
            .join(scenario);
        let mut command = Command::new("node");
        command
            .arg(script)
            .args(arguments)
            .env("MOQ_WEB_MODULES", variable("MOQ_WEB_MODULES"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command);
        let output = BufReader::new(process.stdout());
        let (tell, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("a line of JSON");
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        Self {
            input: process.stdin(),
            process,
            events,
        }
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
        writeln!(self.input).expect("it listens");
    }

    pub fn finish(mut self) {
        drop(self.input);
        assert!(self.process.wait_end_within(LIMIT).success());
    }
}
