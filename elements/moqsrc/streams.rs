//! The broadcast's tracks as a GstStreamCollection, and which of them are selected.

use std::collections::BTreeSet;

use crate::{
    elements::caps::{self, CapsError},
    media::{
        catalog::{Catalog, Rendition},
        codec::Codec,
    },
};

/// Video or audio: what a pad is named after and which tracks may take each other's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Video,
    Audio,
}

impl Kind {
    pub(super) fn of(rendition: &Rendition) -> Self {
        match rendition {
            Rendition::Video(_) => Self::Video,
            Rendition::Audio(_) => Self::Audio,
        }
    }

    pub(super) const fn template(self) -> &'static str {
        match self {
            Self::Video => "video_%u",
            Self::Audio => "audio_%u",
        }
    }

    pub(super) fn pad_name(self, index: u32) -> String {
        match self {
            Self::Video => format!("video_{index}"),
            Self::Audio => format!("audio_{index}"),
        }
    }

    const fn stream_type(self) -> gst::StreamType {
        match self {
            Self::Video => gst::StreamType::VIDEO,
            Self::Audio => gst::StreamType::AUDIO,
        }
    }
}

/// Caps that link straight to a decoder.
pub(super) fn caps_of(rendition: &Rendition) -> Result<gst::Caps, CapsError> {
    match rendition {
        Rendition::Video(video) => caps::video_caps(video),
        Rendition::Audio(audio) => caps::audio_caps(audio),
    }
}

/// A track of the catalog that GStreamer can take.
#[derive(Clone)]
pub(super) struct Entry {
    pub track: String,
    pub kind: Kind,
    pub rendition: Rendition,
    pub stream: gst::Stream,
}

impl Entry {
    pub(super) fn id(&self) -> String {
        self.stream.stream_id().unwrap_or_default().into()
    }
}

/// The tracks of a catalog, video first, in the order of their names; and those that cannot be used, with the reason.
pub(super) fn entries(catalog: &Catalog, source_id: &str) -> (Vec<Entry>, Vec<(String, String)>) {
    let mut usable = Vec::new();
    let mut refused = Vec::new();
    for (track, rendition) in catalog.renditions() {
        match caps_of(&rendition) {
            Ok(caps) => {
                let kind = Kind::of(&rendition);
                usable.push(Entry {
                    stream: stream(source_id, &track, kind, &caps, &rendition),
                    track,
                    kind,
                    rendition,
                });
            }
            Err(err) => refused.push((track, err.to_string())),
        }
    }
    usable.sort_by(|a, b| (a.kind, &a.track).cmp(&(b.kind, &b.track)));
    (usable, refused)
}

fn stream(
    source_id: &str,
    track: &str,
    kind: Kind,
    caps: &gst::Caps,
    rendition: &Rendition,
) -> gst::Stream {
    let stream = gst::Stream::new(
        Some(&format!("{source_id}/{track}")),
        Some(caps),
        kind.stream_type(),
        gst::StreamFlags::empty(),
    );
    stream.set_tags(Some(&tags_of(rendition)));
    stream
}

/// What the catalog says of a track for people and for muxers.
pub(super) fn tags_of(rendition: &Rendition) -> gst::TagList {
    let mut list = gst::TagList::new();
    let tags = list.get_mut().expect("a new list has one owner");
    let mode = gst::TagMergeMode::Replace;
    if let Some(name) = codec_name(&Codec::parse(rendition.codec())) {
        match rendition {
            Rendition::Video(_) => tags.add::<gst::tags::VideoCodec>(&name, mode),
            Rendition::Audio(_) => tags.add::<gst::tags::AudioCodec>(&name, mode),
        }
    }
    if let Some(bitrate) = rendition.bitrate() {
        let bitrate = u32::try_from(bitrate).unwrap_or(u32::MAX);
        tags.add::<gst::tags::NominalBitrate>(&bitrate, mode);
    }
    if let Some(label) = rendition.label() {
        tags.add::<gst::tags::Title>(&label, mode);
    }
    if let Some(language) = rendition.language().and_then(language_code) {
        tags.add::<gst::tags::LanguageCode>(&language, mode);
    }
    list
}

/// As GStreamer's parsers name them.
fn codec_name(codec: &Codec) -> Option<&'static str> {
    Some(match codec {
        Codec::H264(_) => "H.264",
        Codec::H265(_) => "H.265",
        Codec::Av1(_) => "AV1",
        Codec::Vp8 => "VP8",
        Codec::Vp9(_) => "VP9",
        Codec::Opus => "Opus",
        Codec::Aac { .. } => "MPEG-4 AAC",
        Codec::Mp3 => "MPEG-1 Layer 3 (MP3)",
        Codec::Flac => "Free Lossless Audio Codec (FLAC)",
        Codec::Pcm | Codec::Unknown(_) => return None,
    })
}

/// The ISO 639 code that a language tag (RFC 5646) begins with: the tag of GStreamer takes nothing more.
fn language_code(tag: &str) -> Option<&str> {
    let primary = tag.split('-').next()?;
    let is_code =
        (2..=3).contains(&primary.len()) && primary.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_code.then_some(primary)
}

/// Lets streams that play on as they are be the objects that the application has, and tells those of their new tags. Returns
/// whether the collection is another one.
pub(super) fn carry_on(known: &[Entry], entries: &mut [Entry]) -> bool {
    let mut same = 0;
    for entry in entries.iter_mut() {
        let before = known.iter().find(|known| {
            known.track == entry.track && known.rendition.same_decoder(&entry.rendition)
        });
        let Some(before) = before else { continue };
        same += 1;
        let stream = &before.stream;
        if before.rendition != entry.rendition {
            stream.set_caps(entry.stream.caps().as_ref());
            stream.set_tags(entry.stream.tags().as_ref());
        }
        entry.stream = stream.clone();
    }
    same != entries.len() || same != known.len()
}

/// Stable for one URL and broadcast, and without anything secret.
pub(super) fn source_id(url: &str, broadcast: &str) -> String {
    let name = format!("{url}\n{broadcast}");
    gst::glib::compute_checksum_for_string(gst::glib::ChecksumType::Sha256, &name)
        .map(Into::into)
        .unwrap_or(name)
}

pub(super) fn collection(source_id: &str, entries: &[Entry]) -> gst::StreamCollection {
    gst::StreamCollection::builder(Some(source_id))
        .streams(entries.iter().map(|entry| entry.stream.clone()))
        .build()
}

/// The tracks that the application chose; all of them until it does.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection(Option<Choice>);

#[derive(Debug, Clone)]
struct Choice {
    chosen: BTreeSet<String>,
    /// What there was to choose from.
    offered: BTreeSet<String>,
}

impl Selection {
    /// A choice among `entries`.
    pub(super) fn of(stream_ids: impl IntoIterator<Item = String>, entries: &[Entry]) -> Self {
        Self(Some(Choice {
            chosen: stream_ids.into_iter().collect(),
            offered: entries.iter().map(Entry::id).collect(),
        }))
    }

    pub(super) fn has(&self, entry: &Entry) -> bool {
        self.0
            .as_ref()
            .is_none_or(|choice| choice.chosen.contains(&entry.id()))
    }

    /// Whether a track gets a pad: by the choice; without one, all but those that their publisher advises to avoid while there
    /// is another one of their kind.
    pub(super) fn wants(&self, entry: &Entry, entries: &[Entry]) -> bool {
        let is_alternative =
            |other: &Entry| other.kind == entry.kind && !other.rendition.is_stalled();
        match self.0 {
            Some(_) => self.has(entry),
            None => !entry.rendition.is_stalled() || !entries.iter().any(is_alternative),
        }
    }

    /// Whether the application has seen the track and did not want it.
    pub(super) fn refuses(&self, entry: &Entry) -> bool {
        let offered = |choice: &Choice| choice.offered.contains(&entry.id());
        !self.has(entry) && self.0.as_ref().is_some_and(offered)
    }

    /// The track takes the place of one that was chosen.
    pub(super) fn inherit(&mut self, entry: &Entry) {
        if let Some(choice) = &mut self.0 {
            choice.chosen.insert(entry.id());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::catalog::AudioRendition;

    fn entry(track: &str) -> Entry {
        gst::init().expect("GStreamer starts");
        let audio = AudioRendition {
            codec: "opus".into(),
            sample_rate: 48_000,
            channels: 2,
            ..AudioRendition::default()
        };
        let catalog = Catalog {
            audio: [(track.to_owned(), audio)].into(),
            ..Catalog::default()
        };
        entries(&catalog, "source").0.remove(0)
    }

    #[test]
    fn what_was_not_chosen_is_refused_and_what_was_not_offered_is_not() {
        let [chosen, refused, later] = ["a", "b", "c"].map(entry);
        let offered = [chosen.clone(), refused.clone()];
        let mut selection = Selection::of([chosen.id()], &offered);
        assert!(selection.has(&chosen) && !selection.refuses(&chosen));
        assert!(!selection.has(&refused) && selection.refuses(&refused));
        assert!(!selection.has(&later) && !selection.refuses(&later));
        selection.inherit(&later);
        assert!(selection.has(&later));
        assert!(Selection::default().has(&refused) && !Selection::default().refuses(&refused));
    }
}
