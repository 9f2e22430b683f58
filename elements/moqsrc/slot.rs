//! One track of the broadcast as a pad: the private source, the ghost pad and whether anybody wants its data.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gst::{glib, prelude::*};
use parking_lot::Mutex;

use super::{
    streams::{Kind, caps_of},
    track_src::{Queue, TrackSrc},
};
use crate::{
    media::catalog::Rendition,
    net::subscribe::{Player, TrackQueue},
};

/// A pad's queue never holds more than this.
const MAX_QUEUE_BYTES: usize = 64 << 20;

/// Longest span of media that may wait before the player says how much it should be.
const INITIAL_SPAN: i64 = 2_000_000_000;

/// Decides whether the track is subscribed: it is while the pad is linked and its peer takes what is pushed.
///
/// Its lock is taken last and nothing is called under it but the player's command channel, which never blocks.
pub(super) struct Demand {
    player: Weak<Player>,
    track: Mutex<DemandState>,
    queue: Queue,
}

struct DemandState {
    name: String,
    linked: bool,
    enabled: bool,
}

impl Demand {
    fn new(player: &Arc<Player>, name: &str, queue: Queue) -> Arc<Self> {
        Arc::new(Self {
            player: Arc::downgrade(player),
            track: Mutex::new(DemandState {
                name: name.to_owned(),
                linked: false,
                enabled: false,
            }),
            queue,
        })
    }

    pub(super) fn set_linked(&self, linked: bool) {
        let mut state = self.track.lock();
        state.linked = linked;
        self.apply(&mut state);
    }

    /// Asks the publisher for a key frame; false when that is not allowed. Never blocks.
    fn request_key_frame(&self) -> bool {
        let name = self.track.lock().name.clone();
        let player = self.player.upgrade();
        player.is_some_and(|player| player.request_key_frame(&name))
    }

    /// The publisher calls the track by another name now.
    pub(super) fn rename(&self, name: &str) {
        let mut state = self.track.lock();
        if state.name != name {
            let linked = std::mem::replace(&mut state.linked, false);
            self.apply(&mut state);
            name.clone_into(&mut state.name);
            state.linked = linked;
            self.apply(&mut state);
        }
    }

    fn apply(&self, state: &mut DemandState) {
        let Some(player) = self.player.upgrade() else {
            return;
        };
        if state.linked != state.enabled {
            state.enabled = state.linked;
            if state.enabled {
                player.enable(&state.name, self.queue.clone());
            } else {
                player.disable(&state.name);
            }
        }
    }
}

/// A pad and what stands behind it.
#[derive(Clone)]
pub(super) struct Slot {
    pub kind: Kind,
    pub pad: gst::GhostPad,
    pub src: TrackSrc,
    pub queue: Queue,
    demand: Arc<Demand>,
    stream: Arc<Mutex<gst::Stream>>,
    group_id: gst::GroupId,
    source_removed: Arc<AtomicBool>,
    pad_removed: Arc<AtomicBool>,
}

/// What a slot is made from.
pub(super) struct SlotConfig<'a> {
    pub pad_name: &'a str,
    pub template: &'a gst::PadTemplate,
    pub track: &'a str,
    pub kind: Kind,
    pub rendition: &'a Rendition,
    pub stream: &'a gst::Stream,
    pub collection: &'a gst::StreamCollection,
    pub group_id: gst::GroupId,
    pub latency: Arc<AtomicU64>,
    pub player: &'a Arc<Player>,
}

impl Slot {
    /// Makes the pad with its sticky events, so that whoever links it in `pad-added` sees exact caps.
    pub(super) fn new(bin: &gst::Bin, config: SlotConfig) -> Result<Self, glib::BoolError> {
        let caps = caps_of(config.rendition).map_err(|err| glib::bool_error!("{err}"))?;
        let queue: Queue = TrackQueue::new(INITIAL_SPAN, MAX_QUEUE_BYTES);
        let demand = Demand::new(config.player, config.track, queue.clone());
        let src = TrackSrc::new(
            &format!("track-{}", config.pad_name),
            queue.clone(),
            config.latency.clone(),
        );
        src.set_initial_caps(&caps);
        bin.add(&src)?;

        let stream_start = stream_start(config.stream, config.group_id);
        let pad = ghost_pad(&config, &demand, stream_start.clone());
        pad.set_target(Some(&src.static_pad("src").expect("always there")))?;
        pad.set_active(true)?;
        pad.push_event(stream_start);
        // Who decodes by stream, such as decodebin3, waits for it.
        pad.push_event(gst::event::StreamCollection::new(config.collection));
        pad.push_event(gst::event::Caps::new(&caps));
        Ok(Self {
            kind: config.kind,
            pad,
            src,
            queue,
            demand,
            stream: Arc::new(Mutex::new(config.stream.clone())),
            group_id: config.group_id,
            source_removed: Arc::default(),
            pad_removed: Arc::default(),
        })
    }

    pub(super) fn stream(&self) -> gst::Stream {
        self.stream.lock().clone()
    }

    /// The pad goes on with another track of its kind, as another stream.
    pub(super) fn continue_with(&self, stream: &gst::Stream, track: &str) {
        *self.stream.lock() = stream.clone();
        self.src
            .set_stream_start(stream_start(stream, self.group_id));
        self.demand.rename(track);
    }

    /// Lets data follow an end that downstream was told. Not to be called from a streaming thread.
    ///
    /// Sinks of GStreamer 1.22 forget an end only in a flush. Nothing is lost in it: what preceded the end has been presented.
    pub(super) fn resume(&self) {
        let stream = self.stream.lock().clone();
        self.src
            .set_stream_start(stream_start(&stream, self.group_id));
        self.queue.resume();
        self.src.send_event(gst::event::FlushStart::new());
        self.src.send_event(gst::event::FlushStop::new(false));
    }

    /// Ends the stream for downstream, after the last buffer of the source, which is stopped. Before [`Self::dispose`].
    pub(super) fn end(&self) {
        self.demand.set_linked(false);
        self.queue.close();
        self.src.set_locked_state(true);
        let _ = self.src.set_state(gst::State::Null);
        self.pad.push_event(gst::event::Eos::new());
    }

    /// Stops the source and removes it. The thread that stops the element and the one that adds pads may both call this.
    /// Not to be called from a streaming thread.
    pub(super) fn dispose(&self, bin: &gst::Bin) {
        self.demand.set_linked(false);
        self.queue.close();
        let _ = self.pad.set_active(false);
        self.src.set_locked_state(true);
        let _ = self.src.set_state(gst::State::Null);
        // Whoever adds the pad may have started the source again in the meantime: only the removal is done once.
        if !self.source_removed.swap(true, Ordering::AcqRel) {
            let _ = bin.remove(&self.src);
        }
    }

    /// Takes the pad away if it was added; whoever adds it while the element is being stopped calls this afterwards.
    pub(super) fn remove_pad(&self, bin: &gst::Bin) {
        let added = self.pad.parent().as_ref() == Some(bin.upcast_ref());
        if added && !self.pad_removed.swap(true, Ordering::AcqRel) {
            let _ = bin.remove_pad(&self.pad);
        }
    }
}

/// The event that begins a stream, a new one each time: a pad does not send the same event twice.
fn stream_start(stream: &gst::Stream, group_id: gst::GroupId) -> gst::Event {
    gst::event::StreamStart::builder(stream.stream_id().unwrap_or_default().as_str())
        .group_id(group_id)
        .stream(stream.clone())
        .flags(stream.stream_flags())
        .build()
}

fn ghost_pad(config: &SlotConfig, demand: &Arc<Demand>, stream_start: gst::Event) -> gst::GhostPad {
    let refused = Arc::downgrade(demand);
    // A stream began after the first: its caps are sent even if they are the same.
    let renewed = AtomicBool::new(false);
    let relinked = Arc::downgrade(demand);
    let is_video = config.kind == Kind::Video;
    let pad = gst::GhostPad::builder_from_template(config.template)
        .name(config.pad_name)
        .proxy_pad_chain_function(move |pad, parent, buffer| {
            match gst::ProxyPad::chain_default(
                pad,
                parent.map(|parent| parent.upcast_ref::<gst::Object>()),
                buffer,
            ) {
                // Nobody takes this track: its subscription ends, the element goes on.
                Err(gst::FlowError::NotLinked) => {
                    if let Some(demand) = refused.upgrade() {
                        demand.set_linked(false);
                    }
                    Ok(gst::FlowSuccess::Ok)
                }
                other => other,
            }
        })
        .proxy_pad_event_function(move |pad, parent, event| {
            let event = match event.view() {
                // The base source names a stream and a group of its own; those of the broadcast stand.
                gst::EventView::StreamStart(start) if start.stream().is_none() => {
                    stream_start.clone()
                }
                gst::EventView::StreamStart(_) => {
                    renewed.store(true, Ordering::Release);
                    event
                }
                // The pad had them when it was added.
                gst::EventView::Caps(caps)
                    if has_caps(parent, caps) && !renewed.swap(false, Ordering::AcqRel) =>
                {
                    return true;
                }
                _ => event,
            };
            gst::Pad::event_default(
                pad,
                parent.map(|parent| parent.upcast_ref::<gst::Object>()),
                event,
            )
        })
        .event_function(move |pad, parent, event| {
            // Something was linked further down: whoever refused the track may take it now.
            if event.type_() == gst::EventType::Reconfigure {
                set_linked(&relinked, pad.is_linked());
            }
            if is_video
                && super::pad::asks_for_key_frame(&event)
                && relinked
                    .upgrade()
                    .is_some_and(|demand| demand.request_key_frame())
            {
                return true;
            }
            super::pad::src_pad_event(pad, parent, event)
        })
        .query_function(super::pad::src_pad_query)
        .build();
    let linked = Arc::downgrade(demand);
    pad.connect_linked(move |_, _| set_linked(&linked, true));
    let unlinked = Arc::downgrade(demand);
    pad.connect_unlinked(move |_, _| set_linked(&unlinked, false));
    pad
}

fn has_caps(pad: Option<&gst::Object>, caps: &gst::event::Caps) -> bool {
    pad.and_then(|pad| pad.downcast_ref::<gst::Pad>()?.current_caps())
        .is_some_and(|current| current.is_strictly_equal(caps.caps()))
}

fn set_linked(demand: &Weak<Demand>, linked: bool) {
    if let Some(demand) = demand.upgrade() {
        demand.set_linked(linked);
    }
}
