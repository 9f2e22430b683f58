//! The connection's states on the bus, and errors as GStreamer says them.

use std::{sync::Arc, time::Instant};

use gst::{glib, prelude::*};

use super::{
    Progress,
    status::{ConnectionStatus, MoqConnectionState},
};
use crate::net::{
    config::ConnectConfig,
    error::{Cause, Error},
    session::{SessionInfo, State},
    transport,
};

/// Whether the element reads from the relay or writes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// Turns states into messages and notifications. Lives in the pump's handler.
pub struct Reporter {
    direction: Direction,
    status: Arc<ConnectionStatus>,
    url: String,
    /// Of this outage, each told once however often it is tried again.
    told: Vec<Cause>,
    /// When a session that was up was told to be lost or silent.
    lost: Option<Instant>,
    run: Arc<Progress>,
    /// Generation of the session that was told of.
    session: Option<u64>,
    failed: bool,
}

impl Reporter {
    /// A run of the element begins; it lasts until [`ConnectionStatus::reset`].
    pub fn new(
        direction: Direction,
        status: Arc<ConnectionStatus>,
        config: &ConnectConfig,
    ) -> Self {
        let urls: Vec<String> = config.urls.iter().map(transport::redact).collect();
        Self {
            run: status.begin(),
            direction,
            status,
            url: urls.join(" "),
            told: Vec::new(),
            lost: None,
            session: None,
            failed: false,
        }
    }

    /// Posts what the change of state means: PROGRESS `connect`, a WARNING for each cause of an outage, INFO when it is over, ERROR
    /// once when it gives up, element messages `moq-connected` and `moq-disconnected`; and notifies the properties.
    pub fn report(&mut self, element: &impl IsA<gst::Element>, state: State) {
        let element = element.as_ref();
        let was_connected = self.status.state() == MoqConnectionState::Connected;
        let (shown, version) = match &state {
            State::Connecting { .. } => (MoqConnectionState::Connecting, None),
            State::Connected { info, .. } => {
                (MoqConnectionState::Connected, Some(info.version.as_str()))
            }
            State::Reconnecting { .. } => (MoqConnectionState::Reconnecting, None),
            State::Failed(_) => (MoqConnectionState::Failed, None),
        };
        if !self.status.set(element, &self.run, shown, version) {
            return;
        }
        match state {
            State::Connecting { last } => {
                if let Some(error) = last.as_ref().filter(|_| was_connected) {
                    self.disconnected(element, error);
                }
                self.retrying(element, last.as_ref());
            }
            State::Connected {
                silence: Some(error),
                ..
            } => {
                self.lost.get_or_insert_with(Instant::now);
                post_warning(element, self.direction, &error, &self.url);
            }
            State::Connected {
                info, generation, ..
            } if self.session == Some(generation) => self.back(element, "Heard again from", &info),
            State::Connected {
                info, generation, ..
            } => {
                if self.session.replace(generation).is_none() {
                    // One that others had made is up from the start.
                    self.begin(element);
                }
                let structure = gst::Structure::builder("moq-connected")
                    .field("url", &info.url)
                    .field("version", &info.version)
                    .field("transport", info.transport)
                    .build();
                post_element(element, structure);
                let text = format!("Connected to {} ({})", info.url, info.version);
                self.run.complete(element, &text);
                self.back(element, "Connected again to", &info);
            }
            State::Reconnecting { last } => {
                if was_connected {
                    self.told.clear();
                    self.lost.get_or_insert_with(Instant::now);
                    self.disconnected(element, &last);
                }
                self.retrying(element, Some(&last));
            }
            State::Failed(error) => {
                if was_connected {
                    self.disconnected(element, &error);
                }
                self.run
                    .fail(element, &format!("Given up ({})", error.cause));
                if !std::mem::replace(&mut self.failed, true) {
                    post_error(element, self.direction, &error, &self.url);
                }
            }
        }
    }

    fn begin(&self, element: &gst::Element) {
        let text = format!("Connecting to {}", self.url);
        self.run.start(element, &text);
    }

    fn retrying(&mut self, element: &gst::Element, last: Option<&Error>) {
        self.begin(element);
        let Some(error) = last else {
            return;
        };
        if !self.told.contains(&error.cause) {
            self.told.push(error.cause);
            // The WARNING has the sentence.
            let text = format!("Trying again ({})", error.cause);
            self.run.carry_on(element, &text);
            post_warning(element, self.direction, error, &self.url);
        }
    }

    /// Tells the end of an outage that was told.
    fn back(&mut self, element: &gst::Element, what: &str, info: &SessionInfo) {
        if let Some(lost) = self.lost.take() {
            let seconds = lost.elapsed().as_secs_f64();
            let text = format!("{what} {} after {seconds:.1} s", info.url);
            post_info(element, gst::ResourceError::OpenReadWrite, &text);
        }
    }

    fn disconnected(&self, element: &gst::Element, error: &Error) {
        let structure = gst::Structure::builder("moq-disconnected")
            .field("cause", error.cause.as_str())
            .field("url", &self.url)
            .build();
        post_element(element, structure);
    }
}

/// Posts an ERROR with details `moq-error` (`cause`, `url`). `url` must be without query.
pub fn post_error(
    element: &impl IsA<gst::Element>,
    direction: Direction,
    error: &Error,
    url: &str,
) {
    let message = gst::message::Error::builder_from_error(coded(error, direction))
        .src(element.as_ref())
        .details(details(error, url))
        .build();
    post(element.as_ref(), message);
}

/// Posts a WARNING with the same details.
pub fn post_warning(
    element: &impl IsA<gst::Element>,
    direction: Direction,
    error: &Error,
    url: &str,
) {
    let message = gst::message::Warning::builder_from_error(coded(error, direction))
        .src(element.as_ref())
        .details(details(error, url))
        .build();
    post(element.as_ref(), message);
}

/// Posts an INFO, which applications print.
pub fn post_info(element: &impl IsA<gst::Element>, code: gst::ResourceError, text: &str) {
    let element = element.as_ref();
    // gst-launch-1.0 prints the second text alone.
    let message = gst::message::Info::builder_from_error(glib::Error::new(code, text))
        .debug(text)
        .src(element)
        .build();
    post(element, message);
}

/// The error with GStreamer's code for its cause.
fn coded(error: &Error, direction: Direction) -> glib::Error {
    match stream_error(error.cause) {
        Some(code) => glib::Error::new(code, &error.message),
        None => glib::Error::new(resource_error(error.cause, direction), &error.message),
    }
}

fn details(error: &Error, url: &str) -> gst::Structure {
    gst::Structure::builder("moq-error")
        .field("cause", error.cause.as_str())
        .field("url", url)
        .build()
}

fn stream_error(cause: Cause) -> Option<gst::StreamError> {
    match cause {
        Cause::Catalog => Some(gst::StreamError::Demux),
        Cause::Codec => Some(gst::StreamError::CodecNotFound),
        _ => None,
    }
}

fn resource_error(cause: Cause, direction: Direction) -> gst::ResourceError {
    match (cause, direction) {
        (Cause::Auth, _) => gst::ResourceError::NotAuthorized,
        (Cause::NoBroadcast, _) => gst::ResourceError::NotFound,
        (Cause::Settings | Cause::Version, _) => gst::ResourceError::Settings,
        (_, Direction::Read) => gst::ResourceError::OpenRead,
        (_, Direction::Write) => gst::ResourceError::OpenWrite,
    }
}

fn post_element(element: &gst::Element, structure: gst::Structure) {
    post(
        element,
        gst::message::Element::builder(structure)
            .src(element)
            .build(),
    );
}

/// Without a bus nobody listens.
fn post(element: &gst::Element, message: gst::Message) {
    let _ = element.post_message(message);
}

#[cfg(test)]
mod tests {
    use gst::MessageView;

    use super::*;

    /// The messages that these states make, by name.
    fn run(states: Vec<State>) -> Vec<String> {
        gst::init().unwrap();
        let element = glib::Object::new::<super::test_element::Probe>();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let config = ConnectConfig::new(vec![
            transport::parse_url("https://h/p?jwt=secret").unwrap(),
        ]);
        let mut reporter = Reporter::new(Direction::Read, element.status(), &config);
        for state in states {
            reporter.report(&element, state);
        }
        element.status().reset(&element);
        // What the pump still had in hand when the element stopped.
        reporter.report(&element, connected(9));
        assert_eq!(element.status().state(), MoqConnectionState::Disconnected);
        element.set_bus(None);
        std::iter::from_fn(|| bus.pop())
            .map(|message| name(&message))
            .collect()
    }

    fn name(message: &gst::Message) -> String {
        let cause = |details: Option<&gst::StructureRef>| {
            let details = details.unwrap();
            assert_eq!(details.name(), "moq-error");
            assert_eq!(details.get::<String>("url").unwrap(), "https://h/p");
            details.get::<String>("cause").unwrap()
        };
        match message.view() {
            MessageView::Progress(progress) => {
                assert!(!progress.text().contains("secret"));
                format!("{:?}", progress.type_())
            }
            MessageView::Warning(warning) => format!("warning {}", cause(warning.details())),
            MessageView::Error(error) => {
                let auth = error.error().matches(gst::ResourceError::NotAuthorized);
                format!("error {} {auth}", cause(error.details()))
            }
            MessageView::Info(info) => {
                let text = info.error().message().to_owned();
                assert_eq!(info.debug().as_deref(), Some(&*text));
                // The time it took is another each time.
                text.split(" after ").next().unwrap().to_owned()
            }
            MessageView::Element(element) => element.structure().unwrap().name().to_string(),
            other => format!("{other:?}"),
        }
    }

    fn connected(generation: u64) -> State {
        State::Connected {
            info: Arc::new(SessionInfo {
                url: "https://h/p".into(),
                transport: "webtransport",
                version: "moq-lite-06".into(),
            }),
            generation,
            silence: None,
        }
    }

    fn error(cause: Cause) -> Error {
        Error::new(cause, "sentence")
    }

    #[test]
    fn a_dial_that_is_stopped_is_canceled() {
        assert_eq!(
            run(vec![State::Connecting { last: None }]),
            ["Start", "Canceled"]
        );
    }

    #[test]
    fn a_connection_that_is_up_already_has_begun_too() {
        let want = ["Start", "moq-connected", "Complete"];
        assert_eq!(run(vec![connected(7)]), want);
    }

    #[test]
    fn a_connection_that_comes_goes_and_returns() {
        let lost = || State::Reconnecting {
            last: error(Cause::ConnectionLost),
        };
        let got = run(vec![
            State::Connecting { last: None },
            connected(1),
            lost(),
            lost(),
            connected(2),
        ]);
        let want = [
            "Start",
            "moq-connected",
            "Complete",
            "moq-disconnected",
            "Start",
            "Continue",
            "warning connection-lost",
            "moq-connected",
            "Complete",
            "Connected again to https://h/p",
        ];
        assert_eq!(got, want);
    }

    /// Each retry fails for one of two reasons, as with a list of relays.
    #[test]
    fn a_cause_is_told_once_in_an_outage_and_again_in_the_next() {
        let lost = |cause| State::Reconnecting { last: error(cause) };
        let outage = [Cause::Dns, Cause::UdpBlocked, Cause::Dns, Cause::UdpBlocked].map(lost);
        let mut states = vec![State::Connecting { last: None }];
        for generation in 1..3 {
            states.push(connected(generation));
            states.extend(outage.clone());
        }
        let warnings = |got: Vec<String>| {
            let told = got.into_iter().filter(|name| name.starts_with("warning"));
            told.collect::<Vec<_>>()
        };
        let each = ["warning dns", "warning udp-blocked"];
        assert_eq!(warnings(run(states)), [each, each].concat());
    }

    /// What a relay refuses late was never up: its refusal is told once, and no return.
    #[test]
    fn a_session_that_was_refused_late_is_not_told_as_back() {
        let refused = || State::Connecting {
            last: Some(error(Cause::Auth)),
        };
        let got = run(vec![
            State::Connecting { last: None },
            connected(1),
            refused(),
            connected(2),
            refused(),
        ]);
        let warnings = got.iter().filter(|name| name.starts_with("warning"));
        assert_eq!(warnings.count(), 1, "{got:?}");
        assert!(got.iter().all(|name| !name.contains("again")), "{got:?}");
    }

    /// The relay may be gone or not: it is told once, and what comes after it is the same session.
    #[test]
    fn a_silence_is_a_warning_and_its_end_is_no_new_connection() {
        let State::Connected { info, .. } = connected(1) else {
            unreachable!("it is");
        };
        let silent = State::Connected {
            info,
            generation: 1,
            silence: Some(error(Cause::Timeout)),
        };
        let got = run(vec![
            State::Connecting { last: None },
            connected(1),
            silent,
            connected(1),
            connected(2),
        ]);
        let want = [
            "Start",
            "moq-connected",
            "Complete",
            "warning timeout",
            "Heard again from https://h/p",
            "moq-connected",
        ];
        assert_eq!(got, want);
    }

    /// Row 16: typed causes while it retries, one warning per cause, one error at the end.
    #[test]
    fn a_connection_that_never_comes() {
        let failing = |cause| State::Connecting {
            last: Some(error(cause)),
        };
        let got = run(vec![
            failing(Cause::Dns),
            failing(Cause::Dns),
            failing(Cause::Auth),
            State::Failed(error(Cause::Auth)),
            State::Failed(error(Cause::Auth)),
        ]);
        let want = [
            "Start",
            "Continue",
            "warning dns",
            "Continue",
            "warning auth",
            "Error",
            "error auth true",
        ];
        assert_eq!(got, want);
    }
}

/// An element with the two properties, to notify them on.
#[cfg(test)]
mod test_element {
    use std::sync::LazyLock;

    use gst::subclass::prelude::*;

    use super::*;

    mod imp {
        use super::*;

        #[derive(Default)]
        pub struct Probe {
            pub status: Arc<ConnectionStatus>,
        }

        #[glib::object_subclass]
        impl ObjectSubclass for Probe {
            const NAME: &'static str = "GstMoqReportTestElement";
            type Type = super::Probe;
            type ParentType = gst::Element;
        }

        impl ObjectImpl for Probe {
            fn properties() -> &'static [glib::ParamSpec] {
                static SPECS: LazyLock<Vec<glib::ParamSpec>> =
                    LazyLock::new(ConnectionStatus::param_specs);
                &SPECS
            }

            fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
                self.status
                    .get(pspec)
                    .unwrap_or_else(|| pspec.default_value().clone())
            }
        }

        impl GstObjectImpl for Probe {}
        impl ElementImpl for Probe {}
    }

    glib::wrapper! {
        pub struct Probe(ObjectSubclass<imp::Probe>) @extends gst::Element, gst::Object;
    }

    impl Probe {
        pub fn status(&self) -> Arc<ConnectionStatus> {
            self.imp().status.clone()
        }
    }
}
