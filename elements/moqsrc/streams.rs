//! The broadcast's tracks as a GstStreamCollection, and which of them are selected.

use std::collections::BTreeSet;

use crate::{
    elements::caps::{self, CapsError},
    media::catalog::{Catalog, Rendition},
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
    let mut tags = gst::TagList::new();
    {
        let tags = tags.get_mut().expect("a new list has one owner");
        if let Some(bitrate) = rendition.bitrate() {
            tags.add::<gst::tags::NominalBitrate>(
                &u32::try_from(bitrate).unwrap_or(u32::MAX),
                gst::TagMergeMode::Replace,
            );
        }
        if let Some(label) = rendition.label() {
            tags.add::<gst::tags::Title>(&label, gst::TagMergeMode::Replace);
        }
    }
    stream.set_tags(Some(&tags));
    stream
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
