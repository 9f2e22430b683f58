//! What the protocol libraries say (tracing), handed to a sink.
//!
//! The subscriber is set on the runtime's own threads only: the global one belongs to the application.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    sync::OnceLock,
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{
    Dispatch, Event, Metadata, Subscriber, callsite, dispatcher,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

/// How soon it is noticed that somebody listens to more than before.
const LOOK: Duration = Duration::from_secs(1);

/// How loud an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warning,
    Info,
    Debug,
    Trace,
}

/// Where events go. Called on the runtime's threads: it must neither block nor log through tracing.
pub trait LogSink: Send + Sync + 'static {
    /// Whether anybody listens. Asked before every event, so it must be cheap.
    fn enabled(&self, level: Level, target: &str) -> bool;

    /// The most verbose level that is enabled for any target; none when nobody listens.
    fn loudest(&self) -> Option<Level>;

    /// `message` has its fields appended and its secrets taken out.
    fn log(&self, level: Level, target: &str, message: &str);
}

static SINK: OnceLock<(Dispatch, &'static dyn LogSink)> = OnceLock::new();

thread_local! {
    static ATTACHED: RefCell<Option<dispatcher::DefaultGuard>> = const { RefCell::new(None) };
}

/// Sets where events go, once, before the runtime is first used. Later calls change nothing.
pub fn set_log_sink(sink: &'static dyn LogSink) {
    SINK.get_or_init(|| (Dispatch::new(Forward(sink)), sink));
}

/// Tells tracing when the loudest level changes, so that it skips quieter events with one comparison: QUIC has several with
/// each packet. Never ends.
pub(super) async fn follow_loudness() {
    let Some((_, sink)) = SINK.get() else { return };
    let mut told = sink.loudest();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let loudest = sink.loudest();
        if loudest != told {
            told = loudest;
            callsite::rebuild_interest_cache();
        }
    }
}

/// Run on each thread of the runtime as it starts.
pub(super) fn attach() {
    if let Some((dispatch, _)) = SINK.get() {
        attach_to(dispatch);
    }
}

fn attach_to(dispatch: &Dispatch) {
    ATTACHED.with(|guard| *guard.borrow_mut() = Some(dispatcher::set_default(dispatch)));
}

struct Forward(&'static dyn LogSink);

impl Subscriber for Forward {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.is_event() {
            // Thresholds change while running.
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.0.loudest() {
            None => LevelFilter::OFF,
            Some(Level::Error) => LevelFilter::ERROR,
            Some(Level::Warning) => LevelFilter::WARN,
            Some(Level::Info) => LevelFilter::INFO,
            Some(Level::Debug) => LevelFilter::DEBUG,
            Some(Level::Trace) => LevelFilter::TRACE,
        })
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.0.enabled(level(metadata), metadata.target())
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let message = redact(&(text.message + &text.fields));
        self.0.log(level(metadata), metadata.target(), &message);
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

fn level(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Takes the queries of URLs and paths out of a line, and what stands behind `jwt=`.
///
/// The libraries log whole requests; a query is where the token is.
pub fn redact(line: &str) -> String {
    // `Url` prints its query by itself when it is printed for debugging.
    const DEBUG_QUERY: &str = "query: Some(\"";
    const JWT: &str = "jwt=";
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let (shown, ends): (&str, &[char]) = if rest.starts_with(DEBUG_QUERY) {
            (DEBUG_QUERY, &['"'])
        } else if rest.starts_with(JWT) {
            (JWT, &['"', '&', ' ', '\n'])
        } else if c == '?' && rest[1..].starts_with(|c: char| !c.is_whitespace()) {
            ("?", &['"', ' ', '\n'])
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push_str(shown);
        out.push('…');
        rest = &rest[shown.len()..];
        rest = &rest[rest.find(ends).unwrap_or(rest.len())..];
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn queries_and_tokens_are_taken_out() {
        for (line, want) in [
            ("plain text? yes", "plain text? yes"),
            (
                "GET https://h/p?jwt=a.b.c&x=1 done",
                "GET https://h/p?… done",
            ),
            (
                r#"Url { path: "/p", query: Some("jwt=secret"), fragment: None }"#,
                r#"Url { path: "/p", query: Some("…"), fragment: None }"#,
            ),
            ("jwt=secret&x", "jwt=…&x"),
            ("end?", "end?"),
            ("ü?x", "ü?…"),
        ] {
            assert_eq!(redact(line), want);
        }
    }

    struct Lines(Mutex<Vec<(Level, String, String)>>);

    impl LogSink for Lines {
        fn enabled(&self, level: Level, target: &str) -> bool {
            level <= Level::Info && target.starts_with("test::")
        }

        fn loudest(&self) -> Option<Level> {
            Some(Level::Info)
        }

        fn log(&self, level: Level, target: &str, message: &str) {
            self.0
                .lock()
                .push((level, target.to_owned(), message.to_owned()));
        }
    }

    /// Row 21: no global subscriber.
    #[test]
    fn events_of_the_runtime_reach_the_sink_and_those_of_other_threads_do_not() {
        static LINES: LazyLock<Lines> = LazyLock::new(|| Lines(Mutex::default()));
        let dispatch = Dispatch::new(Forward(&*LINES));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(move || attach_to(&dispatch))
            .build()
            .unwrap();
        let task = runtime.spawn(async {
            tracing::info!(target: "test::a", path = "/p?jwt=secret", "hello {}", 1);
            tracing::debug!(target: "test::a", "too quiet");
            tracing::info!(target: "other", "not asked for");
        });
        runtime.block_on(task).unwrap();
        tracing::info!(target: "test::a", "from another thread");
        let lines = LINES.0.lock().clone();
        let want = (
            Level::Info,
            "test::a".to_owned(),
            "hello 1 path=\"/p?…\"".to_owned(),
        );
        assert_eq!(lines, [want]);
        // The application's own is still free to be set.
        dispatcher::set_global_default(Dispatch::none()).unwrap();
    }
}
