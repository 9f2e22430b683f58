//! What the catalog says of a track beside what its stream is: tags, and how late its frames come.

use gst_tag::language_codes::{language_code_iso_639_1, language_code_iso_639_2t};

use crate::media::catalog::Rendition;

/// Frames at the start of a track whose lateness is measured.
const MEASURED: u32 = 30;

/// ms
const MOST: u32 = 10_000;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Details {
    language: Option<String>,
    label: Option<String>,
    /// bit/s
    nominal_bitrate: Option<u64>,
    /// bit/s
    maximum_bitrate: Option<u64>,
    /// How far frames came behind their running time, ms.
    lateness: u32,
    measured: u32,
}

impl Details {
    /// Another stream begins: what the tags of the last one said does not hold.
    pub fn forget_tags(&mut self) {
        *self = Self {
            lateness: self.lateness,
            measured: self.measured,
            ..Self::default()
        };
    }

    /// Takes what a TAG event says; what it does not say stays, as tags of the stream and of the medium come apart.
    pub fn take_tags(&mut self, tags: &gst::TagListRef) {
        let text = |text: &str| {
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            (!text.is_empty()).then_some(text)
        };
        let bitrate = |bitrate: u32| Some(u64::from(bitrate)).filter(|bitrate| *bitrate > 0);
        if let Some(tag) = tags.get::<gst::tags::LanguageCode>() {
            self.language = text(tag.get()).and_then(|code| language_tag(&code));
        }
        if let Some(tag) = tags.get::<gst::tags::Title>() {
            self.label = text(tag.get());
        }
        if let Some(tag) = tags.get::<gst::tags::NominalBitrate>() {
            self.nominal_bitrate = bitrate(tag.get());
        }
        if let Some(tag) = tags.get::<gst::tags::MaximumBitrate>() {
            self.maximum_bitrate = bitrate(tag.get());
        }
    }

    /// A frame came so far behind its running time, ns. Of the first ones the latest counts. True if it is one of them.
    pub fn measure(&mut self, behind: i64) -> bool {
        let counts = self.measured < MEASURED;
        if counts {
            self.measured += 1;
            let ms = u64::try_from(behind).unwrap_or(0).div_ceil(1_000_000);
            let ms = u32::try_from(ms).unwrap_or(MOST).min(MOST);
            self.lateness = self.lateness.max(ms);
        }
        counts
    }

    pub fn apply(&self, rendition: &mut Rendition) {
        let bitrate = self.maximum_bitrate.or(self.nominal_bitrate);
        let (its_bitrate, label, jitter) = match rendition {
            Rendition::Video(video) => (&mut video.bitrate, &mut video.label, &mut video.jitter_ms),
            Rendition::Audio(audio) => {
                audio.language = self.language.clone();
                (&mut audio.bitrate, &mut audio.label, &mut audio.jitter_ms)
            }
        };
        *its_bitrate = bitrate;
        *label = self.label.clone();
        if self.lateness > 0 {
            *jitter = Some(jitter.unwrap_or(0) + self.lateness);
        }
    }
}

/// The language tag (BCP 47) for a `language-code`, which is of ISO 639-1, 639-2/T or 639-2/B: a language that has a code of two letters
/// is known by that alone, others by their terminological code of three (RFC 5646 §2.2.1). What follows the code stays.
fn language_tag(code: &str) -> Option<String> {
    let (primary, rest) = match code.split_once(['-', '_']) {
        Some((primary, rest)) => (primary, Some(rest.replace('_', "-"))),
        None => (code, None),
    };
    let primary = primary.to_ascii_lowercase();
    // No word for a language, or the one for none that is known.
    let is_code = matches!(primary.len(), 2 | 3) && primary.bytes().all(|b| b.is_ascii_lowercase());
    if !is_code || primary == "und" {
        return None;
    }
    let shortest = language_code_iso_639_1(&primary).or_else(|| language_code_iso_639_2t(&primary));
    let shortest = shortest.map_or(primary.as_str(), |code| code.as_str());
    Some(match rest {
        Some(rest) => format!("{shortest}-{rest}"),
        None => shortest.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::catalog::{AudioRendition, VideoRendition};

    #[test]
    fn tags_become_language_label_and_bitrate() {
        gst::init().expect("GStreamer");
        let mut tags = gst::TagList::new();
        let writable = tags.get_mut().expect("owned");
        let merge = gst::TagMergeMode::Append;
        writable.add::<gst::tags::LanguageCode>(&"de", merge);
        writable.add::<gst::tags::Title>(&"Ton\n", merge);
        writable.add::<gst::tags::NominalBitrate>(&64_000, merge);
        let mut details = Details::default();
        details.take_tags(&tags);
        let apply = |details: &Details| {
            let mut rendition = Rendition::Audio(AudioRendition::default());
            details.apply(&mut rendition);
            match rendition {
                Rendition::Audio(audio) => audio,
                Rendition::Video(_) => unreachable!("it is audio"),
            }
        };
        let audio = apply(&details);
        assert_eq!(audio.language.as_deref(), Some("de"));
        assert_eq!(audio.label.as_deref(), Some("Ton"));
        assert_eq!(audio.bitrate, Some(64_000));

        let mut more = gst::TagList::new();
        let writable = more.get_mut().expect("owned");
        writable.add::<gst::tags::MaximumBitrate>(&96_000, merge);
        details.take_tags(&more);
        let audio = apply(&details);
        assert_eq!((audio.bitrate, audio.label.is_some()), (Some(96_000), true));
        details.forget_tags();
        assert_eq!(apply(&details), AudioRendition::default());
    }

    #[test]
    fn languages_are_known_by_their_shortest_code() {
        gst::init().expect("GStreamer");
        for (code, tag) in [
            ("en", Some("en")),
            ("eng", Some("en")),
            ("DEU", Some("de")),
            ("ger", Some("de")),
            ("fre", Some("fr")),
            // No code of two letters.
            ("gsw", Some("gsw")),
            ("de_AT", Some("de-AT")),
            ("por-BR", Some("pt-BR")),
            // Not in the table.
            ("qaa", Some("qaa")),
            ("und", None),
            ("English", None),
            ("", None),
        ] {
            assert_eq!(language_tag(code).as_deref(), tag, "{code}");
        }
    }

    #[test]
    fn the_latest_of_the_first_frames_adds_to_the_jitter() {
        let mut details = Details::default();
        for behind in [-5_000_000, 12_300_000, 7_000_000] {
            details.measure(behind);
        }
        let of_the_first = (0..MEASURED).filter(|_| details.measure(0)).count();
        assert_eq!(of_the_first, MEASURED as usize - 3);
        assert!(!details.measure(500_000_000));
        let mut rendition = Rendition::Video(VideoRendition {
            jitter_ms: Some(34),
            ..VideoRendition::default()
        });
        details.apply(&mut rendition);
        match rendition {
            Rendition::Video(video) => assert_eq!(video.jitter_ms, Some(34 + 13)),
            Rendition::Audio(_) => unreachable!("it is video"),
        }
    }
}
