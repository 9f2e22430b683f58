//! One path, the connections on it, and the time.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use gstmoq::{
    net::{config::CongestionControl, transport::congestion::factory_with_clock},
    netsim::{Ecn, LossReason, Packet, Path, PathSettings},
};

use super::{
    apps::{App, Media, MediaApp},
    node::Node,
};

/// IPv4 and UDP headers.
const OVERHEAD: usize = 28;

/// Time that stands still until it is moved.
#[derive(Clone)]
struct Time {
    origin: Instant,
    nanos: Arc<AtomicU64>,
}

impl Time {
    fn now(&self) -> Instant {
        self.origin + Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Sender,
    Receiver,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrival(End, Vec<u8>),
    Wakeup,
    /// Packets may have come out of the paths.
    Paths,
}

/// Which packet is on a path.
#[derive(Debug, Clone, Copy)]
struct Address {
    flow: usize,
    to: End,
    sent: Duration,
}

type Entry = Reverse<(Duration, u64, usize, What)>;

/// A connection on the path.
pub struct Flow {
    sender: Node,
    receiver: Node,
    pub app: App,
    starts: Duration,
    ends: Duration,
    /// The next wake-up that is planned.
    wakes: Duration,
    /// `(time, bytes)` that arrived.
    pub received: Vec<(Duration, usize)>,
    /// `(time, time in the queue and jitter)` of each packet.
    pub queue: Vec<(Duration, Duration)>,
    pub sent: u64,
    pub overflowed: u64,
}

pub struct World {
    time: Time,
    now: Duration,
    forward: Path<Address>,
    back: Path<Address>,
    /// The next look at the paths that is planned.
    looks: Duration,
    pub flows: Vec<Flow>,
    events: BinaryHeap<Entry>,
    sequence: u64,
    schedule: Vec<(Duration, PathSettings)>,
}

impl World {
    pub fn new(forward: PathSettings, back: PathSettings, seed: u64) -> Self {
        Self {
            time: Time {
                origin: Instant::now(),
                nanos: Arc::default(),
            },
            now: Duration::ZERO,
            forward: Path::new(forward, seed),
            back: Path::new(back, seed ^ 0xb),
            looks: Duration::MAX,
            flows: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            schedule: Vec::new(),
        }
    }

    /// The way there has other settings from `at` on.
    pub fn change(&mut self, at: Duration, settings: PathSettings) {
        self.schedule.push((at, settings));
    }

    pub fn media(&mut self, control: CongestionControl, media: Media, until: Duration) {
        let app = App::Media(Box::new(MediaApp::new(media, until)));
        self.flow(control, app, Duration::ZERO, Duration::MAX);
    }

    /// As much as goes between `starts` and `ends`.
    pub fn bulk(&mut self, control: CongestionControl, starts: Duration, ends: Duration) {
        self.flow(control, App::Bulk { stream: None }, starts, ends);
    }

    fn flow(&mut self, control: CongestionControl, app: App, starts: Duration, ends: Duration) {
        let index = self.flows.len();
        let port = u16::try_from(index).expect("few flows");
        let sender_at = SocketAddr::from(([127, 0, 0, 1], 1000 + port));
        let receiver_at = SocketAddr::from(([127, 0, 0, 1], 2000 + port));
        let seed = u8::try_from(index).expect("few flows");
        let time = self.time.clone();
        let controller = factory_with_clock(control, Arc::new(move || time.now()));
        let sender = Node::sender(
            self.time.origin + starts,
            2 * seed + 1,
            receiver_at,
            controller.clone(),
        );
        self.flows.push(Flow {
            sender,
            receiver: Node::receiver(2 * seed, sender_at, controller),
            app,
            starts,
            ends,
            wakes: Duration::MAX,
            received: Vec::new(),
            queue: Vec::new(),
            sent: 0,
            overflowed: 0,
        });
        self.at(starts, index, What::Wakeup);
    }

    pub fn run(&mut self, until: Duration) {
        while let Some(Reverse((at, _, index, what))) = self.events.pop() {
            if at > until {
                return;
            }
            self.now = self.now.max(at);
            let nanos = u64::try_from(self.now.as_nanos()).expect("a short time");
            self.time.nanos.store(nanos, Ordering::Relaxed);
            while self.schedule.first().is_some_and(|(at, _)| *at <= self.now) {
                self.forward.set(self.now, self.schedule.remove(0).1);
            }
            match what {
                What::Paths => self.look(),
                what if self.now < self.flows[index].ends => self.step(index, what),
                _ => {}
            }
        }
    }

    fn at(&mut self, at: Duration, flow: usize, what: What) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, flow, what)));
    }

    fn step(&mut self, index: usize, what: What) {
        let now = self.time.now();
        let flow = &mut self.flows[index];
        let (mut there, mut back) = (Vec::new(), Vec::new());
        match what {
            What::Arrival(End::Receiver, data) => {
                flow.receiver
                    .receive(now, BytesMut::from(&data[..]), &mut back);
            }
            What::Arrival(End::Sender, data) => {
                flow.sender
                    .receive(now, BytesMut::from(&data[..]), &mut there);
            }
            What::Wakeup | What::Paths => {}
        }
        while flow.sender.poll().is_some() {}
        if let Some(connection) = &mut flow.sender.connection {
            flow.app.send(self.now - flow.starts, connection);
        }
        flow.sender.drive(now, &mut there);
        // Events may name streams that are only there once all were read.
        loop {
            let event = flow.receiver.poll();
            let last = event.is_none();
            if let Some(connection) = &mut flow.receiver.connection {
                let bytes = flow.app.receive(self.now - flow.starts, event, connection);
                if bytes > 0 {
                    flow.received.push((self.now, bytes));
                }
            }
            if last {
                break;
            }
        }
        flow.receiver.drive(now, &mut back);
        self.transmit(index, there, back);
        self.wake(index);
    }

    fn transmit(&mut self, index: usize, there: Vec<BytesMut>, back: Vec<BytesMut>) {
        let now = self.now;
        let packet = |data: BytesMut, to| {
            let mut payload = data.to_vec();
            payload.resize(payload.len() + OVERHEAD, 0);
            Packet {
                payload: payload.into_boxed_slice(),
                ecn: Ecn::None,
                to: Address {
                    flow: index,
                    to,
                    sent: now,
                },
            }
        };
        for data in there {
            self.flows[index].sent += 1;
            let sent = self.forward.send(now, packet(data, End::Receiver));
            if sent == Err(LossReason::Queue) {
                self.flows[index].overflowed += 1;
            }
        }
        for data in back {
            // What is lost is lost.
            let _ = self.back.send(now, packet(data, End::Sender));
        }
        self.plan_look();
    }

    /// Hands over what has arrived.
    fn look(&mut self) {
        self.looks = Duration::MAX;
        let delay = self.forward.settings(self.now).delay;
        while let Some((at, packet)) = self.forward.pop(self.now) {
            let waited = at.saturating_sub(packet.to.sent + delay);
            self.flows[packet.to.flow]
                .queue
                .push((packet.to.sent, waited));
            self.arrive(at, packet);
        }
        while let Some((at, packet)) = self.back.pop(self.now) {
            self.arrive(at, packet);
        }
        self.plan_look();
    }

    fn arrive(&mut self, at: Duration, packet: Packet<Address>) {
        let mut data = packet.payload.into_vec();
        data.truncate(data.len() - OVERHEAD);
        self.at(at, packet.to.flow, What::Arrival(packet.to.to, data));
    }

    fn plan_look(&mut self) {
        let next = [self.forward.next_at(), self.back.next_at()];
        if let Some(next) = next.into_iter().flatten().min()
            && next < self.looks
        {
            // A packet that leaves the queue now is not there yet.
            self.looks = next.max(self.now + Duration::from_nanos(1));
            self.at(self.looks, 0, What::Paths);
        }
    }

    fn wake(&mut self, index: usize) {
        let flow = &mut self.flows[index];
        let timers = [flow.sender.timeout(), flow.receiver.timeout()];
        let timer = timers.into_iter().flatten().min();
        let timer = timer.map(|at| at.saturating_duration_since(self.time.origin));
        let app = flow.app.wakeup().map(|at| at + flow.starts);
        let next = timer.into_iter().chain(app).min();
        if let Some(next) = next {
            // Timers that are due are set anew at the next turn.
            let next = next.max(self.now + Duration::from_micros(1));
            if flow.wakes <= self.now || next < flow.wakes {
                flow.wakes = next;
                self.at(next, index, What::Wakeup);
            }
        }
    }
}
