//! What a track is fed: its stream, and the frames that are made of it.

use super::{
    details::Details,
    frame::{self, Payload, Problem, Times, Unit},
    publication::News,
    stats::Drop as Lost,
};
use crate::{
    elements::caps::{Packaging, Stream},
    media::{
        catalog::Rendition,
        container::{Encoder, legacy, loc},
        timing::PacketTiming,
    },
    net::{
        error::{Cause, Error},
        publish::TrackWriter,
    },
    policy::{
        dts::Dts,
        generation::{Mapped, Position},
        group::{Grouping, Key},
        mini_gop::MiniGop,
    },
};

use bytes::Bytes;

/// Where the data of a track stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    #[default]
    Running,
    /// End of stream.
    Ended,
    Failed,
}

#[derive(Default)]
pub(super) struct Feed {
    pub phase: Phase,
    pub writer: Option<TrackWriter>,
    pub coded: Option<Coded>,
    pub details: Details,
    /// What the catalog is to say.
    pub published: Option<Rendition>,
    /// The order of the pictures; it outlives a change of caps, because a jitter that was told is never lowered.
    order: MiniGop,
    /// [`MiniGop::wait`] as the catalog has it, once it has.
    told_wait: Option<usize>,
    pub position: Position,
    /// A segment began.
    pub restart: bool,
    /// See [`super::track::Written::due`].
    pub due: Option<i64>,
}

/// A stream on its way into a container.
pub(super) struct Coded {
    /// As its caps said.
    pub stated: Stream,
    /// With what its frames said since.
    stream: Stream,
    packaging: Packaging,
    pub grouping: Grouping,
    /// Without details; `None` until the frames have said what the caps do not.
    rendition: Option<Rendition>,
    /// For CMAF there as long as `rendition`.
    encoder: Option<Encoder>,
    timing: PacketTiming,
    /// For pictures whose buffers do not say when they are decoded.
    decoding: Option<Dts>,
    /// The newest decoding time that was written, in µs: CMAF alone has them.
    decoded_until: Option<u64>,
}

/// A frame as it is written.
pub(super) struct Frame {
    pub object: Bytes,
    pub key: Key,
    pub leading: Option<bool>,
    /// It can be a group by itself.
    pub alone: bool,
    /// Players need another decoder from it on.
    pub changed: bool,
}

/// ms
const MOST_JITTER: f64 = 10_000.0;

impl Feed {
    /// What comes next starts a group.
    pub fn end_group(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.finish_group();
        }
        if let Some(coded) = &mut self.coded {
            coded.grouping.reset();
        }
    }

    /// The group was given up: what comes next starts one when it can be decoded by itself.
    pub fn give_up_group(&mut self) {
        if let Some(coded) = &mut self.coded {
            coded.grouping.give_up();
        }
    }

    /// The catalog entry, if it is known.
    pub fn rendition(&self) -> Option<Rendition> {
        let coded = self.coded.as_ref()?;
        let mut rendition = coded.rendition.clone()?;
        self.details.apply(&mut rendition);
        if let (Rendition::Video(video), Some(wait)) = (&mut rendition, self.wait_ms(coded)) {
            // What was measured of an encoder has it already.
            video.jitter_ms = video.jitter_ms.max(Some(wait));
        }
        Some(rendition)
    }

    /// How long pictures wait for others, if some do and the stream has a frame rate.
    fn wait_ms(&self, coded: &Coded) -> Option<u32> {
        let Stream::Video(video) = &coded.stream else {
            return None;
        };
        let pictures = Some(self.order.wait()).filter(|wait| *wait > 0)?;
        let ms = (1_000.0 * pictures as f64 / video.framerate()?).ceil();
        Some(ms.min(MOST_JITTER) as u32)
    }

    /// Looks at the order in which pictures come. True if the catalog has to say something of it that it does not.
    pub fn observe(&mut self, mapped: &Mapped, discont: bool) -> bool {
        if !self.coded.as_ref().is_some_and(Coded::reorders) {
            return false;
        }
        if mapped.jumped || discont {
            self.order.restart();
        }
        self.order.next(mapped.time);
        match self.told_wait {
            Some(told) => self.order.wait() > told,
            None => self.order.is_known(),
        }
    }

    /// How firm what is known of the track is. `again`: its readers have to come back.
    pub fn news(&mut self, again: bool) -> News {
        let in_order = !self.coded.as_ref().is_some_and(Coded::reorders);
        if self.told_wait.is_none() && !again && !in_order && !self.order.is_known() {
            return News::Provisional;
        }
        let wait = self.order.wait();
        let told = self.told_wait.replace(wait);
        match again || told.is_some_and(|told| told < wait) {
            true => News::Pressing,
            false => News::Known,
        }
    }
}

impl Coded {
    pub fn new(stream: Stream, packaging: Packaging, grouping: Grouping) -> Self {
        Self {
            stated: stream.clone(),
            stream,
            packaging,
            grouping,
            rendition: None,
            encoder: match packaging {
                Packaging::Legacy => Some(Encoder::Legacy),
                Packaging::Loc => Some(Encoder::Loc),
                Packaging::Cmaf => None,
            },
            timing: PacketTiming::Unknown,
            decoding: None,
            decoded_until: None,
        }
    }

    /// Pictures may come in another order than they are shown in.
    fn reorders(&self) -> bool {
        matches!(&self.stream, Stream::Video(video) if video.reorder_depth() > 0)
    }

    /// The frame of one access unit.
    pub fn frame(&mut self, mapped: &Mapped, unit: &Unit<'_>) -> Result<Frame, Problem> {
        let us = |time: i64| u64::try_from(time / 1000).unwrap_or(0);
        let pts = us(mapped.time);
        // Several memories are gathered where they have to be read, into what is the object if nothing has to be changed.
        let is_split =
            unit.parts.len() > 1 && frame::is_read_whole(&self.stream, self.packaging, unit.delta);
        let gathered = is_split.then(|| self.gather(pts, unit.parts)).transpose()?;
        let len: usize = unit.parts.iter().map(|part| part.len()).sum();
        let whole = gathered
            .as_ref()
            .map(|object| [&object[object.len() - len..]]);
        let parts = whole.as_ref().map_or(unit.parts, |whole| &whole[..]);

        let au = parts.first().copied().unwrap_or_default();
        let look = frame::look(&mut self.stream, unit.delta, au)?;
        let changed = (look.learned || self.rendition.is_none()) && self.renew()?;
        let times = Times {
            pts,
            dts: self.decoding_time(mapped, unit),
            duration: self.duration(unit, au),
        };
        let payload = frame::payload(&self.stream, self.packaging, look.key, parts)?;
        let object = match (gathered.as_ref(), &payload) {
            (Some(object), Payload::Whole) if self.packaging != Packaging::Cmaf => object.clone(),
            _ => {
                let encoder = self
                    .encoder
                    .as_mut()
                    .ok_or(Problem::Lost(Lost::NoKeyFrame))?;
                frame::object(encoder, &payload, parts, look.key, times)?
            }
        };
        Ok(Frame {
            object,
            key: look.key,
            leading: look.leading,
            alone: look.alone,
            changed,
        })
    }

    /// All memories as the object of one frame, or, for CMAF, as they are: its header says what is not known yet.
    fn gather(&self, pts: u64, parts: &[&[u8]]) -> Result<Bytes, Problem> {
        let gathered = match self.packaging {
            Packaging::Legacy => legacy::encode(pts, parts),
            Packaging::Loc => loc::encode(pts, parts),
            Packaging::Cmaf => Ok(parts.concat().into()),
        };
        gathered.map_err(|_| Problem::Lost(Lost::NoTimestamp))
    }

    /// In µs of media time, for CMAF alone: other containers do not say.
    ///
    /// It rises with each frame, as Media Source Extensions §3.5.8 wants it. The first pictures of a reordered stream are decoded before
    /// media time 0, which tfdt cannot say (ISO/IEC 14496-12 §8.8.12, unsigned): they get the first instants from 0 on, and
    /// their composition offsets, which have a sign, keep what is presented where it is.
    fn decoding_time(&mut self, mapped: &Mapped, unit: &Unit<'_>) -> Option<u64> {
        if self.packaging != Packaging::Cmaf {
            return None;
        }
        if mapped.jumped {
            self.decoded_until = None;
        }
        if (mapped.jumped || unit.discont)
            && let Some(decoding) = &mut self.decoding
        {
            decoding.reset();
        }
        let stated = unit.dts.map(|dts| mapped.time + dts - unit.running);
        let time = stated.or_else(|| Some(self.decoding.as_mut()?.next(mapped.time)))?;
        let us = u64::try_from(time.min(mapped.time) / 1000).unwrap_or(0);
        let us = self.decoded_until.map_or(us, |last| us.max(last + 1));
        self.decoded_until = Some(us);
        Some(us)
    }

    /// In µs, for CMAF alone: other containers do not say.
    fn duration(&self, unit: &Unit<'_>, au: &[u8]) -> Option<u64> {
        if self.packaging != Packaging::Cmaf {
            return None;
        }
        let coded = || match &self.stream {
            Stream::Audio(_) => self.timing.duration_ns(au),
            Stream::Video(video) => u64::try_from(video.picture_duration()?).ok(),
        };
        let stated = unit
            .duration
            .and_then(|duration| u64::try_from(duration).ok());
        stated.or_else(coded).map(|ns| ns / 1000)
    }

    /// Sees what the stream has become. True if players need another decoder.
    fn renew(&mut self) -> Result<bool, Problem> {
        let refused = |err| {
            Problem::Broken(Error::new(
                Cause::Codec,
                format!("The stream cannot be published in this container: {err}"),
            ))
        };
        let rendition = self.stream.rendition(self.packaging).map_err(refused)?;
        if rendition.is_none() || rendition == self.rendition {
            return Ok(false);
        }
        if let Some(rendition) = &rendition {
            self.encoder = Some(Encoder::new(rendition.container()).map_err(refused)?);
            if let Rendition::Audio(audio) = rendition {
                self.timing = PacketTiming::new(audio);
            }
            if let Stream::Video(video) = &self.stream {
                self.decoding = Some(Dts::new(video.reorder_depth(), video.picture_duration()));
            }
        }
        self.rendition = rendition;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
