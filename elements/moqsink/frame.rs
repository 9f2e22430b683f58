//! Access units → frames as they are written.

use bytes::Bytes;

use super::stats::Drop as Lost;
use crate::{
    elements::caps::{H264Stream, Stream},
    media::{
        container::legacy,
        h264::{self, Config, KeyKind, NalFormat},
    },
    net::error::{Cause, Error},
    policy::{backlog::Amount, group::Key},
};

/// One buffer.
pub(super) struct Unit<'a> {
    /// Presentation, running time in ns; negative before the segment.
    pub running: i64,
    /// Running time of the pipeline, ns.
    pub now: Option<i64>,
    pub delta: bool,
    pub discont: bool,
    pub parts: &'a [&'a [u8]],
}

impl Unit<'_> {
    /// What is lost with it.
    pub fn amount(&self) -> Amount {
        Amount {
            groups: 0,
            frames: 1,
            bytes: self.parts.iter().map(|part| part.len() as u64).sum(),
        }
    }
}

/// What becomes of a frame that is not written.
pub(super) enum Problem {
    Lost(Lost),
    /// The track cannot go on; the others do.
    Broken(Error),
    /// The element cannot go on.
    Fatal(Error),
}

/// A frame as it is written.
pub(super) struct Frame {
    pub object: Bytes,
    pub key: Key,
    /// It can be a group by itself.
    pub alone: bool,
}

/// The frame of one access unit; `us` is media time.
pub(super) fn frame(
    stream: Option<&mut Stream>,
    us: u64,
    unit: &Unit<'_>,
) -> Result<Frame, Problem> {
    match stream {
        None => Err(Problem::Lost(Lost::NoKeyFrame)),
        Some(Stream::Opus(_)) => Ok(Frame {
            object: object(us, unit.parts)?,
            key: Key::Idr,
            alone: true,
        }),
        Some(Stream::H264(_)) if unit.delta => Ok(Frame {
            object: object(us, unit.parts)?,
            key: Key::None,
            alone: false,
        }),
        Some(Stream::H264(stream)) => key_frame(stream, us, unit.parts),
    }
}

/// A frame that upstream calls a key frame: looks what it is, learns its parameter sets and sees that it has them.
fn key_frame(stream: &mut H264Stream, us: u64, parts: &[&[u8]]) -> Result<Frame, Problem> {
    // One memory is read where it is; several are gathered into the object first, and read there.
    let gathered = match parts {
        [_] => None,
        parts => Some(object(us, parts)?),
    };
    let header = legacy::header(us).map_err(|_| Problem::Lost(Lost::NoTimestamp))?;
    let au = match (&gathered, parts) {
        (Some(object), _) => &object[header.as_slice().len()..],
        (None, parts) => parts.first().copied().unwrap_or_default(),
    };
    if stream.format == NalFormat::ByteStream {
        match Config::from_access_unit(au, NalFormat::ByteStream) {
            Ok(Some(config)) => stream.config = Some(config),
            Ok(None) => {}
            Err(err) => {
                return Err(Problem::Broken(Error::new(
                    Cause::Codec,
                    format!("The H.264 stream cannot be read: {err}"),
                )));
            }
        }
    }
    let Some(config) = &stream.config else {
        return Err(Problem::Lost(Lost::NoKeyFrame));
    };
    let kind = h264::key_kind(au, stream.format);
    let key = if kind.is_closed(config.reorder_depth) {
        Key::Idr
    } else if kind == (KeyKind::RecoveryPoint { recovery_frames: 0 }) {
        Key::Open
    } else {
        Key::None
    };
    if stream.format == NalFormat::ByteStream
        && key != Key::None
        && let Some(with_sets) = h264::prepend_parameter_sets(au, config)
    {
        let object = legacy::encode(us, with_sets.as_slice())
            .map_err(|_| Problem::Lost(Lost::NoTimestamp))?;
        return Ok(Frame {
            object,
            key,
            alone: false,
        });
    }
    let object = match gathered {
        Some(object) => object,
        None => object(us, parts)?,
    };
    Ok(Frame {
        object,
        key,
        alone: false,
    })
}

fn object(us: u64, parts: &[&[u8]]) -> Result<Bytes, Problem> {
    legacy::encode(us, parts).map_err(|_| Problem::Lost(Lost::NoTimestamp))
}
