//! The course of the demo: relay, publisher and player start, the status line is written, and all of them end.

use std::{
    cell::{Cell, RefCell},
    io,
    net::IpAddr,
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use gst::{
    glib::{self, ControlFlow},
    prelude::*,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{
    measure::Nanos,
    pipelines::{Probe, Problem, describe, set_state},
    play::{Display, Player},
    publish::{self, BROADCAST, Input},
    screen::{self, Screen},
};

/// How long the end may take: the publisher drains, the player plays what is under way.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Everything that runs; stopped when it is dropped, however it came to that.
pub struct Session {
    relay: Relay,
    publisher: gst::Pipeline,
    player: Player,
    probe: Arc<Probe>,
    screen: RefCell<Screen>,
    main_loop: glib::MainLoop,
    ending: Cell<bool>,
    problem: RefCell<Option<Problem>>,
}

struct Relay {
    pipeline: gst::Pipeline,
    url: String,
    serves_page: bool,
    /// Addresses of this machine that others reach.
    elsewhere: Vec<IpAddr>,
}

/// How the relay is reached, and what browsers get there.
pub struct Listen<'a> {
    pub port: u16,
    /// By other machines, too.
    pub lan: bool,
    pub web_root: Option<&'a Path>,
}

impl Relay {
    fn start(listen: &Listen<'_>) -> Result<Self, Problem> {
        let web_root = listen.web_root;
        let web_root = web_root.map(|folder| folder.to_string_lossy().into_owned());
        let host = if listen.lan { "" } else { "127.0.0.1" };
        let bridge = gst::ElementFactory::make("relay-bridge")
            .property("listen", format!("{host}:{}", listen.port))
            .property("public-subscribe", if listen.lan { BROADCAST } else { "" })
            .property_if_some("web-root", web_root.as_ref())
            .build()
            .map_err(|err| err.to_string())?;
        let mut relay = Self {
            pipeline: gst::Pipeline::with_name("relay"),
            url: String::new(),
            serves_page: web_root.is_some(),
            elsewhere: if listen.lan { addresses() } else { Vec::new() },
        };
        relay.pipeline.add(&bridge).map_err(|err| err.to_string())?;
        set_state(&relay.pipeline, gst::State::Playing)
            .map_err(|problem| format!("{problem} (option --port)"))?;
        relay.url = bridge
            .property::<Option<String>>("bound-url")
            .ok_or("the relay does not listen")?;
        Ok(relay)
    }
}

/// Of every interface but loopback; IPv6 ones of a link need a zone, which URLs do not carry.
fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = interfaces.into_iter().filter(|one| !one.is_link_local());
    addresses
        .map(|interface| interface.ip())
        .filter(|address| !address.is_loopback())
        .collect()
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.player.pipeline.set_state(gst::State::Null);
        let _ = self.publisher.set_state(gst::State::Null);
    }
}

impl Session {
    pub fn open(input: &Input, listen: &Listen<'_>) -> Result<Rc<Self>, Problem> {
        let relay = Relay::start(listen)?;
        let probe = Probe::new();
        let display = Display::find();
        let player = Player::new(&relay.url, display, &probe)?;
        let publisher = publish::pipeline(input, &relay.url, &probe)?;
        let mut screen = Screen::new();
        if let Display::Unreachable(variable) = display {
            screen.line(&format!(
                "the display that {variable} names cannot be opened: playing without a window"
            ));
        }
        Ok(Rc::new(Self {
            relay,
            publisher,
            player,
            probe,
            screen: RefCell::new(screen),
            main_loop: glib::MainLoop::new(None, false),
            ending: Cell::new(false),
            problem: RefCell::new(None),
        }))
    }

    /// Plays until the input ends, the time is over, a signal comes or something fails.
    pub fn run(self: &Rc<Self>, limit: Option<Duration>, snapshot: &Path) -> Result<(), Problem> {
        let url = &self.relay.url;
        self.line(&format!("relay at {url}, broadcast {BROADCAST}"));
        if self.relay.serves_page {
            self.line(&format!("in a browser: {url}#{BROADCAST}"));
            let port = url.trim_end_matches('/').rsplit(':').next();
            for address in &self.relay.elsewhere {
                let host = match address {
                    IpAddr::V4(address) => address.to_string(),
                    IpAddr::V6(address) => format!("[{address}]"),
                };
                self.line(&format!(
                    "on other machines: https://{host}:{}/#{BROADCAST} (past the warning of the development certificate)",
                    port.unwrap_or_default()
                ));
            }
        }
        publish::preroll(&self.publisher)?;
        let _watches = [
            self.watch(&self.publisher, Self::from_publisher)?,
            self.watch(&self.player.pipeline, Self::from_player)?,
        ];
        self.probe.timebase.play(&self.publisher)?;
        self.probe.timebase.play(&self.player.pipeline)?;
        let sources = self.sources(limit);
        self.end_by_signal()?;
        self.main_loop.run();
        sources.into_iter().for_each(glib::SourceId::remove);
        self.finish(snapshot)
    }

    /// What the main loop does besides the messages.
    fn sources(self: &Rc<Self>, limit: Option<Duration>) -> Vec<glib::SourceId> {
        let interval = self.screen.borrow().interval();
        let session = self.clone();
        let mut sources = vec![glib::timeout_add_local(interval, move || {
            session.screen.borrow_mut().status(&session.status());
            ControlFlow::Continue
        })];
        // A source that is not repeated cannot be removed once it has fired, so all of these go on.
        if let Some(limit) = limit {
            let session = self.clone();
            sources.push(glib::timeout_add_local(limit, move || {
                session.end();
                ControlFlow::Continue
            }));
        }
        sources
    }

    /// The first Ctrl-C ends, the second does not wait for that.
    fn end_by_signal(self: &Rc<Self>) -> Result<(), Problem> {
        let mut signals = signals().map_err(|err| format!("cannot wait for Ctrl-C: {err}"))?;
        let session = Rc::downgrade(self);
        glib::MainContext::default().spawn_local(async move {
            while let Some(()) = signals.recv().await {
                let Some(session) = session.upgrade() else {
                    return;
                };
                if session.ending.get() {
                    session.main_loop.quit();
                }
                session.end();
            }
        });
        Ok(())
    }

    fn watch(
        self: &Rc<Self>,
        pipeline: &gst::Pipeline,
        with: fn(&Rc<Self>, &gst::Message),
    ) -> Result<gst::bus::BusWatchGuard, Problem> {
        let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
        let session = self.clone();
        bus.add_watch_local(move |_, message| {
            with(&session, message);
            ControlFlow::Continue
        })
        .map_err(|err| err.to_string())
    }

    fn from_publisher(self: &Rc<Self>, message: &gst::Message) {
        match message.view() {
            // The groups are on their way; what is left is to say that no more will come.
            gst::MessageView::Eos(_) => {
                self.end();
                let _ = self.publisher.set_state(gst::State::Null);
            }
            gst::MessageView::Error(err) => self.fail(format!("publisher: {}", describe(err))),
            gst::MessageView::Latency(_) => drop(self.publisher.recalculate_latency()),
            _ => {}
        }
    }

    fn from_player(self: &Rc<Self>, message: &gst::Message) {
        match message.view() {
            gst::MessageView::Eos(_) => self.main_loop.quit(),
            gst::MessageView::Error(err) if self.player.window_closed(err) => self.main_loop.quit(),
            gst::MessageView::Error(err) => self.fail(format!("player: {}", describe(err))),
            gst::MessageView::Latency(_) => drop(self.player.pipeline.recalculate_latency()),
            _ => {}
        }
    }

    fn fail(&self, problem: Problem) {
        self.problem.borrow_mut().get_or_insert(problem);
        self.main_loop.quit();
    }

    /// Ends the publisher; its end comes to the player through the relay, and ends the main loop.
    fn end(self: &Rc<Self>) {
        if self.ending.replace(true) {
            return;
        }
        self.publisher.send_event(gst::event::Eos::new());
        let session = self.clone();
        glib::timeout_add_local_once(END_LIMIT, move || session.main_loop.quit());
    }

    fn status(&self) -> String {
        screen::status(
            &self.player.connection(),
            &self.probe.live(),
            self.latency(),
        )
    }

    /// What the player's pipeline adds to the running time.
    fn latency(&self) -> Option<Nanos> {
        Nanos::try_from(self.player.latency()?.nseconds()).ok()
    }

    fn line(&self, line: &str) {
        self.screen.borrow_mut().line(line);
    }

    fn finish(&self, snapshot: &Path) -> Result<(), Problem> {
        if let Some(problem) = self.problem.take() {
            self.screen.borrow_mut().close();
            return Err(problem);
        }
        let live = self.probe.live();
        let total = self
            .probe
            .total()
            .ok_or("nothing was played: try it for longer, or see what GST_DEBUG=moq*:5 says")?;
        self.line(&screen::summary(&live, &total, self.latency()));
        if self.player.snapshot(snapshot)? {
            let path = std::path::absolute(snapshot).unwrap_or_else(|_| snapshot.to_owned());
            self.line(&format!("last picture saved as {}", path.display()));
        }
        Ok(())
    }
}

/// One item for each Ctrl-C or request to terminate.
fn signals() -> io::Result<mpsc::UnboundedReceiver<()>> {
    let runtime = gstmoq::runtime::handle();
    let _inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (came, signals) = mpsc::unbounded_channel();
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if came.send(()).is_err() {
                return;
            }
        }
    });
    Ok(signals)
}
