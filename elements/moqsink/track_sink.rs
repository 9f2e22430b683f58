//! The private sink of one track. The base class paces, holds in PAUSED and flushes; what is left is caps, segments and buffers.

use std::sync::{
    Arc, LazyLock, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};
use smallvec::SmallVec;

use super::{
    details::Details, frame::Unit, imp::CAT, key_unit, network, stats::Drop as Lost, track::Track,
    unparsed,
};
use crate::{
    elements::{
        caps::{self, Stream},
        connection::{Direction, post_error},
    },
    media::codec::Kind,
    net::error::{Cause, Error},
};

#[derive(Default)]
pub struct MoqTrackSink {
    track: OnceLock<Arc<Track>>,
    kind: OnceLock<Option<Kind>>,
    /// The element's `sync`.
    paced: AtomicBool,
    /// The element's `drain-timeout`.
    drain: AtomicU64,
    /// The segment counts bytes: nobody has parsed this input.
    unparsed: AtomicBool,
    /// Running time in ns at which the newest buffer ends, for buffers without a timestamp; [`UNKNOWN`] before.
    next: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

/// Most buffers have fewer memories: no list of them is allocated.
const MEMORIES: usize = 8;

impl MoqTrackSink {
    /// To be called once, before the element has a state.
    pub(super) fn set_up(&self, track: Arc<Track>, kind: Option<Kind>) {
        let obj = self.obj();
        // Pads are independent: one without data keeps neither the others nor the pipeline from PLAYING, and one that comes
        // while playing does not take the pipeline back. What arrives in PAUSED is still held until PLAYING.
        obj.set_async(false);
        // Frames are handed over, not shown: no deadline, and no reference kept on the newest.
        obj.set_processing_deadline(gst::ClockTime::ZERO);
        obj.set_enable_last_sample(false);
        obj.set_qos(false);
        // The base class would also drop what decoders need: see `is_behind_segment`.
        obj.set_drop_out_of_segment(false);
        // The base class drops what follows an end of stream before it asks anybody.
        obj.sink_pad()
            .add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |pad, info| {
                if let Some(event) = info.event()
                    && event.type_() == gst::EventType::StreamStart
                    && let Some(sink) = pad.parent().and_downcast::<super::MoqTrackSink>()
                {
                    sink.imp().begin_again();
                }
                gst::PadProbeReturn::Ok
            });
        let _ = self.track.set(track);
        let _ = self.kind.set(kind);
        self.next.store(UNKNOWN, Ordering::Relaxed);
    }

    pub(super) fn configure(&self, paced: bool, drain: u64) {
        self.paced.store(paced, Ordering::Relaxed);
        self.drain.store(drain, Ordering::Relaxed);
    }

    /// Live input comes at its pace already; whoever waits for its timestamps only adds delay.
    fn choose_pacing(&self) {
        let obj = self.obj();
        let mut query = gst::query::Latency::new();
        let live = obj.sink_pad().peer_query(&mut query) && query.result().0;
        let sync = self.paced.load(Ordering::Relaxed) && !live;
        gst::debug!(CAT, imp = self, "Input is live: {live}, pacing: {sync}");
        obj.set_sync(sync);
    }

    fn fail(&self, error: &Error) {
        let obj = self.obj();
        match obj.parent().and_downcast::<super::MoqSink>() {
            Some(element) => post_error(&element, Direction::Write, error, &element.imp().url()),
            None => post_error(&*obj, Direction::Write, error, ""),
        }
    }

    /// Lets a stream that begins after the end of another go on without a flush. The base class forgets an end of stream
    /// only in a flush: it gets one, which is its own; nothing is waiting in it, for this is the streaming thread.
    fn begin_again(&self) {
        let track = self.track.get().expect("set up before it has a state");
        if !track.has_ended() {
            return;
        }
        gst::debug!(CAT, imp = self, "A stream begins after the end of another");
        self.parent_event(gst::event::FlushStart::new());
        self.parent_event(gst::event::FlushStop::new(false));
        track.flush();
    }

    fn drop_buffer(&self, track: &Track, lost: Lost, buffer: &gst::BufferRef) {
        gst::debug!(CAT, imp = self, "Dropping a buffer: {}", lost.as_str());
        track.drop_unit(lost, buffer.size() as u64);
    }

    /// Presentation time as running time in ns, negative before the segment.
    fn running_time(&self, buffer: &gst::BufferRef) -> Option<i64> {
        let running = match buffer.pts() {
            Some(pts) => self.in_running_time(Some(pts))?,
            None => {
                let next = self.next.load(Ordering::Relaxed);
                (next != UNKNOWN).then_some(i64::try_from(next).ok()?)?
            }
        };
        let next = buffer
            .duration()
            .and_then(|duration| {
                u64::try_from(running)
                    .ok()?
                    .checked_add(duration.nseconds())
            })
            .unwrap_or(UNKNOWN);
        self.next.store(next, Ordering::Relaxed);
        Some(running)
    }

    /// In ns, negative before the segment.
    fn in_running_time(&self, time: Option<gst::ClockTime>) -> Option<i64> {
        let segment = self.obj().segment();
        let segment = segment.downcast_ref::<gst::ClockTime>()?;
        match segment.to_running_time_full(time?)? {
            gst::Signed::Positive(time) => i64::try_from(time.nseconds()).ok(),
            gst::Signed::Negative(time) => Some(-i64::try_from(time.nseconds()).ok()?),
        }
    }

    /// Whether nothing from here on is shown: it lies behind the end of the segment in decoding order too. What is shown
    /// after the end but decoded before it may be what others refer to, and what lies before the start is where decoding
    /// begins; both go on.
    fn is_behind_segment(&self, buffer: &gst::BufferRef) -> bool {
        let segment = self.obj().segment();
        let Some(segment) = segment.downcast_ref::<gst::ClockTime>() else {
            return false;
        };
        let time = match (buffer.dts(), buffer.pts()) {
            (Some(dts), Some(pts)) => Some(dts.min(pts)),
            (dts, pts) => dts.or(pts),
        };
        match (time, segment.stop()) {
            (Some(time), Some(stop)) => segment.rate() > 0.0 && time >= stop,
            _ => false,
        }
    }

    fn now(&self) -> Option<i64> {
        let now = self.obj().current_running_time()?;
        i64::try_from(now.nseconds()).ok()
    }

    /// Ties running time to the wall clock, again after every pause, seek and change of clock.
    fn anchor(&self, track: &Track) {
        let obj = self.obj();
        let (Some(clock), Some(base_time)) = (obj.clock(), obj.base_time()) else {
            return;
        };
        let key = (clock.as_ptr() as usize, base_time.nseconds());
        if !track.publication.needs_anchor(key) {
            return;
        }
        let now = clock.time().nseconds();
        let elapsed = i64::try_from(now).unwrap_or(0) - i64::try_from(key.1).unwrap_or(0);
        track.publication.set_anchor(key, elapsed);
    }

    fn publish(&self, track: &Arc<Track>, buffer: &gst::BufferRef) -> Result<(), gst::FlowError> {
        let flags = buffer.flags();
        // Headers are in the caps or in the key frames; gaps are nothing to publish, and an empty frame would end the group.
        if flags.contains(gst::BufferFlags::HEADER) && !self.is_video(track)
            || flags.contains(gst::BufferFlags::GAP) && buffer.size() == 0
            || buffer.size() == 0
        {
            return Ok(());
        }
        if flags.contains(gst::BufferFlags::CORRUPTED) {
            self.drop_buffer(track, Lost::Corrupted, buffer);
            return Ok(());
        }
        if self.is_behind_segment(buffer) {
            track.cut_for_gap();
            self.drop_buffer(track, Lost::OutOfSegment, buffer);
            return Ok(());
        }
        self.anchor(track);
        let Some(running) = self.running_time(buffer) else {
            gst::warning!(CAT, imp = self, "Dropping a buffer without a timestamp");
            self.drop_buffer(track, Lost::NoTimestamp, buffer);
            return Ok(());
        };
        let maps: Result<SmallVec<[_; MEMORIES]>, _> = buffer
            .iter_memories()
            .map(|memory| memory.map_readable())
            .collect();
        let maps = maps.map_err(|_| {
            gst::element_imp_error!(self, gst::ResourceError::Read, ["Cannot map a buffer"]);
            gst::FlowError::Error
        })?;
        let parts: SmallVec<[&[u8]; MEMORIES]> = maps.iter().map(|map| map.as_slice()).collect();
        let unit = Unit {
            running,
            dts: self.in_running_time(buffer.dts()),
            duration: buffer
                .duration()
                .and_then(|duration| i64::try_from(duration.nseconds()).ok()),
            now: self.now(),
            delta: flags.contains(gst::BufferFlags::DELTA_UNIT),
            discont: flags.contains(gst::BufferFlags::DISCONT),
            parts: &parts,
        };
        let written = track.write(&unit).map_err(|error| {
            self.fail(&error);
            gst::FlowError::Error
        })?;
        drop(parts);
        drop(maps);
        if let Some(overflow) = written.overflow {
            gst::debug!(
                CAT,
                imp = self,
                "The network does not keep up: {overflow:?}"
            );
            network::send_overflow(self.obj().sink_pad(), running, overflow);
        }
        if let Some(due) = written.due {
            self.pace(due);
        }
        Ok(())
    }

    /// Holds a stream that went back in time and runs away from the clock. Whoever paced it upstream (`identity sync=true`)
    /// did so by the old time, which lies behind, and does not any more: a file in a loop would go out as fast as it is read.
    fn pace(&self, due: i64) {
        let Ok(due) = u64::try_from(due) else {
            return;
        };
        if self.paced.load(Ordering::Relaxed) {
            let obj = self.obj();
            // The base class itself has nothing to wait for in the past; it only waits when it may.
            obj.set_sync(true);
            // Whatever ends the wait, a flush or a pause, ends it for the next buffer too.
            let _ = obj.wait_clock(gst::ClockTime::from_nseconds(due));
        }
    }

    fn is_video(&self, track: &Track) -> bool {
        track.info.lock().kind == Some(Kind::Video)
    }
}

#[glib::object_subclass]
impl ObjectSubclass for MoqTrackSink {
    const NAME: &'static str = "GstMoqTrackSink";
    type Type = super::MoqTrackSink;
    type ParentType = gst_base::BaseSink;
}

impl ObjectImpl for MoqTrackSink {}

impl GstObjectImpl for MoqTrackSink {}

impl ElementImpl for MoqTrackSink {
    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            vec![
                gst::PadTemplate::new(
                    "sink",
                    gst::PadDirection::Sink,
                    gst::PadPresence::Always,
                    &caps::template(None),
                )
                .expect("a valid template"),
            ]
        });
        &TEMPLATES
    }
}

impl BaseSinkImpl for MoqTrackSink {
    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let caps = caps::template(self.kind.get().copied().flatten());
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        // Caps that are too vague are taken here and refused with their reason by `set_caps`; upstream could only say that it
        // is not negotiated.
        if let gst::QueryViewMut::AcceptCaps(accept) = query.view_mut() {
            let template = caps::template(self.kind.get().copied().flatten());
            let accepted = accept.caps().can_intersect(&template);
            accept.set_result(accepted);
            return true;
        }
        BaseSinkImplExt::parent_query(self, query)
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let track = self.track.get().expect("set up before it has a state");
        match Stream::from_caps(caps) {
            Ok(stream) => track.set_stream(stream),
            Err(err) => {
                let error = Error::new(Cause::Codec, err.to_string());
                if !track.is_open() {
                    self.fail(&error);
                    return Err(gst::loggable_error!(CAT, "{error}"));
                }
                track.refuse(&error);
            }
        }
        Ok(())
    }

    fn event(&self, event: gst::Event) -> bool {
        let track = self.track.get().expect("set up before it has a state");
        match event.view() {
            gst::EventView::Segment(segment) => {
                let in_time = segment.segment().format() == gst::Format::Time;
                // Refused with its first buffer, which tells what it is.
                self.unparsed.store(!in_time, Ordering::Relaxed);
                if !in_time {
                    return self.parent_event(event);
                }
                self.next.store(UNKNOWN, Ordering::Relaxed);
                track.segment();
                self.choose_pacing();
            }
            gst::EventView::StreamStart(_) => track.describe(Details::forget_tags),
            gst::EventView::Tag(tag) => track.describe(|details| details.take_tags(tag.tag())),
            gst::EventView::FlushStop(_) => track.flush(),
            gst::EventView::Eos(_) => {
                let drain = std::time::Duration::from_nanos(self.drain.load(Ordering::Relaxed));
                track.end(drain);
            }
            gst::EventView::CustomDownstream(_) if key_unit::announces(&event) => track.cut(),
            _ => {}
        }
        self.parent_event(event)
    }

    fn prepare(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        if self.unparsed.load(Ordering::Relaxed) {
            let caps = self.obj().sink_pad().current_caps();
            self.fail(&unparsed::error(caps, buffer));
            return Err(gst::FlowError::Error);
        }
        self.parent_prepare(buffer)
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let track = self.track.get().expect("set up before it has a state");
        self.publish(track, buffer)?;
        Ok(gst::FlowSuccess::Ok)
    }
}
