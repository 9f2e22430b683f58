//! The private live source of one track: takes what the player queued and makes buffers of it.

use std::sync::{
    Arc, LazyLock, OnceLock,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};
use parking_lot::Mutex;

use super::streams::{caps_of, tags_of};
use crate::{
    media::catalog::Rendition,
    net::subscribe::{
        Frame, Item, TrackQueue,
        queue::{CATCH_UP, Popped},
    },
    policy::Nanos,
};

/// PTS of running time zero. Large, so that frames from before the live edge, which decoders need and clip, have a PTS too.
pub(super) const PTS_OF_ZERO: gst::ClockTime = gst::ClockTime::from_seconds(1000 * 3600);

pub(super) type Queue = Arc<TrackQueue<Arc<Rendition>>>;

glib::wrapper! {
    pub struct TrackSrc(ObjectSubclass<imp::TrackSrc>) @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

impl TrackSrc {
    /// `latency` in ns, which may change.
    pub(super) fn new(name: &str, queue: Queue, latency: Arc<AtomicU64>) -> Self {
        let src: Self = glib::Object::builder().property("name", name).build();
        let imp = src.imp();
        imp.queue
            .set(queue)
            .ok()
            .expect("a new source has no queue");
        imp.latency
            .set(latency)
            .expect("a new source has no latency");
        src
    }

    /// What a caps query answers before the first configuration was taken.
    pub(super) fn set_initial_caps(&self, caps: &gst::Caps) {
        *self.imp().caps.lock() = Some(caps.clone());
    }

    /// Another stream begins with the next configuration.
    pub(super) fn set_stream_start(&self, event: gst::Event) {
        *self.imp().stream_start.lock() = Some(event);
    }

    /// The streams of the broadcast are these from now on.
    pub(super) fn set_collection(&self, collection: &gst::StreamCollection) {
        let event = gst::event::StreamCollection::new(collection);
        *self.imp().collection.lock() = Some(event);
    }
}

/// A PTS or DTS for a running time; `None` before the time that can be written so.
fn timestamp(running: Nanos) -> Option<gst::ClockTime> {
    let zero = i64::try_from(PTS_OF_ZERO.nseconds()).ok()?;
    u64::try_from(zero.checked_add(running)?)
        .ok()
        .map(gst::ClockTime::from_nseconds)
}

/// The segment in which presentation starts at this running time, with timestamps that are ahead of running time by `shift`.
fn segment_from(start: Nanos, shift: Nanos) -> gst::FormattedSegment<gst::ClockTime> {
    let running = gst::ClockTime::from_nseconds(u64::try_from(start).unwrap_or(0));
    let first = timestamp(start.max(0).saturating_add(shift)).unwrap_or(PTS_OF_ZERO + running);
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(first);
    segment.set_position(first);
    segment.set_base(running);
    segment.set_time(running);
    segment
}

fn buffer_from(frame: Frame, shift: Nanos) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(frame.payload);
    {
        let buffer = buffer.get_mut().expect("a new buffer has one owner");
        let stamp = |running: Nanos| timestamp(running.saturating_add(shift));
        buffer.set_pts(stamp(frame.pts));
        buffer.set_dts(frame.dts.and_then(stamp));
        buffer.set_duration(
            frame
                .duration
                .and_then(|duration| u64::try_from(duration).ok())
                .map(gst::ClockTime::from_nseconds),
        );
        let mut flags = gst::BufferFlags::empty();
        flags.set(gst::BufferFlags::DELTA_UNIT, !frame.key);
        flags.set(gst::BufferFlags::DISCONT, frame.discont);
        flags.set(gst::BufferFlags::RESYNC, frame.resync);
        buffer.set_flags(flags);
    }
    buffer
}

mod imp {
    use super::{super::imp::CAT, *};

    #[derive(Default)]
    pub struct TrackSrc {
        pub(super) queue: OnceLock<Queue>,
        pub(super) latency: OnceLock<Arc<AtomicU64>>,
        pub(super) caps: Mutex<Option<gst::Caps>>,
        /// Pushed before the next caps.
        pub(super) stream_start: Mutex<Option<gst::Event>>,
        /// What was said last of this stream.
        pub(super) tags: Mutex<Option<gst::TagList>>,
        /// Pushed as soon as there is something to push.
        pub(super) collection: Mutex<Option<gst::Event>>,
        /// The segment that no buffer has been pushed in yet.
        pub(super) segment: Mutex<Option<gst::FormattedSegment<gst::ClockTime>>>,
        /// What timestamps are ahead of running time by, ns.
        pub(super) shift: AtomicI64,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for TrackSrc {
        const NAME: &'static str = "GstMoqTrackSrc";
        type Type = super::TrackSrc;
        type ParentType = gst_base::PushSrc;
    }

    impl ObjectImpl for TrackSrc {
        fn constructed(&self) {
            self.parent_constructed();
            let obj = self.obj();
            obj.set_live(true);
            obj.set_format(gst::Format::Time);
            obj.set_do_timestamp(false);
        }
    }

    impl GstObjectImpl for TrackSrc {}

    impl ElementImpl for TrackSrc {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "MoQ track source",
                    "Source/Network/MoQ",
                    "One track of a moqsrc",
                    env!("CARGO_PKG_AUTHORS"),
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                gst::PadTemplate::new(
                    "src",
                    gst::PadDirection::Src,
                    gst::PadPresence::Always,
                    &gst::Caps::new_any(),
                )
                .into_iter()
                .collect()
            });
            &TEMPLATES
        }
    }

    impl BaseSrcImpl for TrackSrc {
        fn start(&self) -> Result<(), gst::ErrorMessage> {
            self.queue().set_flushing(false);
            Ok(())
        }

        fn unlock(&self) -> Result<(), gst::ErrorMessage> {
            self.queue().set_flushing(true);
            Ok(())
        }

        fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
            self.queue().set_flushing(false);
            Ok(())
        }

        fn is_seekable(&self) -> bool {
            false
        }

        fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
            let caps = self.caps.lock().clone();
            let caps = caps.unwrap_or_else(gst::Caps::new_any);
            Some(match filter {
                Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
                None => caps,
            })
        }

        /// Caps come from the catalog, in the streaming thread.
        fn negotiate(&self) -> Result<(), gst::LoggableError> {
            Ok(())
        }

        fn query(&self, query: &mut gst::QueryRef) -> bool {
            if let gst::QueryViewMut::Latency(query) = query.view_mut() {
                let latency = self.latency.get().expect("set when the source is made");
                let latency = gst::ClockTime::from_nseconds(latency.load(Ordering::Relaxed));
                query.set(true, latency, gst::ClockTime::NONE);
                return true;
            }
            BaseSrcImplExt::parent_query(self, query)
        }
    }

    impl PushSrcImpl for TrackSrc {
        fn create(
            &self,
            _buffer: Option<&mut gst::BufferRef>,
        ) -> Result<gst_base::subclass::base_src::CreateSuccess, gst::FlowError> {
            loop {
                let item = match self.queue().pop() {
                    Popped::Flushing => return Err(gst::FlowError::Flushing),
                    Popped::Item(item) => item,
                };
                let collection = self.collection.lock().take();
                if let Some(collection) = collection {
                    self.push_event(collection);
                }
                match item {
                    Item::Config(rendition) => self.configure(&rendition)?,
                    Item::CatchUp { at, shift } => {
                        // None of what follows is in it.
                        self.begin_segment(&segment_from(at, shift + CATCH_UP), shift)?;
                    }
                    Item::Segment { start, shift } => {
                        gst::debug!(CAT, imp = self, "segment from running time {start} ns");
                        let segment = segment_from(start, shift);
                        self.begin_segment(&segment, shift)?;
                        *self.segment.lock() = Some(segment);
                    }
                    Item::Gap { start, duration } => self.push_gap(start, duration),
                    Item::Frame(frame) => {
                        *self.segment.lock() = None;
                        return Ok(gst_base::subclass::base_src::CreateSuccess::NewBuffer(
                            buffer_from(frame, self.shift.load(Ordering::Relaxed)),
                        ));
                    }
                    Item::Eos => return Err(gst::FlowError::Eos),
                }
            }
        }
    }

    impl TrackSrc {
        fn queue(&self) -> &Queue {
            self.queue.get().expect("set when the source is made")
        }

        fn begin_segment(
            &self,
            segment: &gst::FormattedSegment<gst::ClockTime>,
            shift: Nanos,
        ) -> Result<(), gst::FlowError> {
            self.shift.store(shift, Ordering::Relaxed);
            self.obj()
                .new_segment(segment.upcast_ref())
                .map_err(|_| gst::FlowError::Error)
        }

        fn configure(&self, rendition: &Rendition) -> Result<(), gst::FlowError> {
            let caps = match caps_of(rendition) {
                Ok(caps) => caps,
                Err(err) => {
                    // The track stops alone; the rest of the broadcast goes on.
                    gst::element_imp_warning!(
                        self,
                        gst::StreamError::CodecNotFound,
                        ["The track cannot go on: {err}"],
                        details: gst::Structure::builder("moq-error").field("cause", "codec").build()
                    );
                    return Err(gst::FlowError::Eos);
                }
            };
            gst::info!(CAT, imp = self, "caps {caps}");
            *self.caps.lock() = Some(caps.clone());
            let stream_start = self.stream_start.lock().take();
            if let Some(stream_start) = stream_start {
                self.push_event(stream_start);
                self.push_event(gst::event::Caps::new(&caps));
                *self.tags.lock() = None;
            }
            self.obj()
                .set_caps(&caps)
                .map_err(|_| gst::FlowError::NotNegotiated)?;
            self.tell_tags(tags_of(rendition));
            Ok(())
        }

        /// Once for each stream and change.
        fn tell_tags(&self, tags: gst::TagList) {
            let told = self.tags.lock().replace(tags.clone());
            if told.as_ref() != Some(&tags) {
                self.push_event(gst::event::Tag::new(tags));
            }
        }

        /// The base class sends a segment with the first buffer in it only, and a gap needs one too.
        fn push_gap(&self, start: Nanos, duration: Nanos) {
            let shift = self.shift.load(Ordering::Relaxed);
            let Some(start) = timestamp(start.saturating_add(shift)) else {
                return;
            };
            let segment = self.segment.lock().take();
            if let Some(segment) = segment {
                self.push_event(gst::event::Segment::new(&segment));
            }
            let duration = u64::try_from(duration)
                .ok()
                .map(gst::ClockTime::from_nseconds);
            let gap = gst::event::Gap::builder(start).duration(duration).build();
            self.push_event(gap);
        }

        /// In the streaming thread. Who refuses it says so at the next buffer.
        fn push_event(&self, event: gst::Event) {
            let pad = self.obj().static_pad("src").expect("always there");
            pad.push_event(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pts_in_the_segment_gives_back_the_running_time_and_earlier_pts_is_clipped() {
        gst::init().expect("GStreamer starts");
        const MS: Nanos = 1_000_000;
        let segment = segment_from(700 * MS, 0);
        let running = |ms: Nanos| segment.to_running_time(timestamp(ms * MS).expect("in range"));
        assert_eq!(running(700), Some(gst::ClockTime::from_mseconds(700)));
        assert_eq!(running(950), Some(gst::ClockTime::from_mseconds(950)));
        assert_eq!(running(699), None);
        assert!(timestamp(-5000 * MS).is_some());
    }
}
