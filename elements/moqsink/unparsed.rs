//! Input that no parser or demuxer has cut into frames with timestamps: what is missing, by name.

use crate::net::error::{Cause, Error};

/// Media type, its `mpegversion` where that tells it from others of its name, what is missing in front of moqsink.
const REMEDIES: [(&str, Option<i32>, &str); 13] = [
    ("video/x-h264", None, "h264parse"),
    ("video/x-h265", None, "h265parse"),
    ("video/x-av1", None, "av1parse"),
    ("video/x-ivf", None, "ivfparse"),
    ("audio/mpeg", Some(1), "mpegaudioparse"),
    ("audio/mpeg", None, "aacparse"),
    ("audio/x-flac", None, "flacparse"),
    ("audio/x-opus", None, "opusparse"),
    ("audio/ogg", None, "oggdemux and the parser of each stream"),
    (
        "video/quicktime",
        None,
        "qtdemux and the parser of each stream",
    ),
    (
        "video/mpegts",
        None,
        "tsdemux and the parser of each stream",
    ),
    (
        "video/webm",
        None,
        "matroskademux and the parser of each stream",
    ),
    (
        "video/x-matroska",
        None,
        "matroskademux and the parser of each stream",
    ),
];

/// What to say of input with these caps, or else of these bytes.
pub(super) fn error(caps: Option<gst::Caps>, buffer: &gst::BufferRef) -> Error {
    let caps = caps.or_else(|| found(buffer));
    let what = caps.as_ref().and_then(|caps| caps.structure(0));
    let text = match (what, what.and_then(remedy)) {
        (Some(what), Some(remedy)) => {
            format!("This input is {} that nothing has parsed: put {remedy} in front of moqsink", what.name())
        }
        (Some(what), None) => format!(
            "This input is {}, as bytes without timestamps: moqsink takes encoded frames, from an encoder, a parser or a demuxer",
            what.name()
        ),
        (None, _) => "This input is bytes without caps or timestamps, as of a file: put a demuxer or the codec's parser in front \
                      of moqsink, such as h264parse"
            .to_owned(),
    };
    Error::new(Cause::Codec, text)
}

fn remedy(what: &gst::StructureRef) -> Option<&'static str> {
    let version = what.get::<i32>("mpegversion").ok();
    REMEDIES
        .iter()
        .find(|(name, of, _)| what.name() == *name && (of.is_none() || *of == version))
        .map(|(_, _, remedy)| *remedy)
}

/// What GStreamer takes these bytes for.
fn found(buffer: &gst::BufferRef) -> Option<gst::Caps> {
    let map = buffer.map_readable().ok()?;
    let found = gst_base::type_find_helper_for_data(None::<&gst::Object>, map.as_slice());
    found.ok().map(|(caps, _)| caps)
}
