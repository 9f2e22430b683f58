//! What changed between two catalogs, as a player sees it.

use std::collections::BTreeMap;

use super::{AudioRendition, Catalog, VideoRendition};
use crate::media::codec::Kind;

/// A track of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackRef {
    pub kind: Kind,
    pub name: String,
}

/// The difference of two catalogs. Within each list, video comes before audio, and names are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Tracks that only the new catalog has.
    pub added: Vec<TrackRef>,
    /// Tracks that only the old catalog had.
    pub removed: Vec<TrackRef>,
    /// Tracks whose decoder, container or place is another one: codec, description, size, aspect, sample rate,
    /// channels, container, broadcast.
    pub changed: Vec<TrackRef>,
    /// Tracks that play on as they are: bitrate, frame rate, jitter, delay, label, language and hints.
    pub cosmetic: Vec<TrackRef>,
    /// The clock is another one.
    pub clock: bool,
    /// Display size or orientation are others.
    pub presentation: bool,
}

impl Changes {
    pub(super) fn between(old: &Catalog, new: &Catalog) -> Self {
        let mut changes = Self {
            clock: old.clock != new.clock,
            presentation: old.display != new.display || old.orientation != new.orientation,
            ..Self::default()
        };
        changes.compare(
            Kind::Video,
            &old.video,
            &new.video,
            VideoRendition::same_decoder,
        );
        changes.compare(
            Kind::Audio,
            &old.audio,
            &new.audio,
            AudioRendition::same_decoder,
        );
        changes
    }

    /// Nothing at all changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A player has to act. A publisher need not send a new catalog otherwise: each one makes browsers rebuild
    /// their decoders (row 24 of the lessons).
    pub fn requires_action(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty())
            || self.clock
            || self.presentation
    }

    fn compare<R: PartialEq>(
        &mut self,
        kind: Kind,
        old: &BTreeMap<String, R>,
        new: &BTreeMap<String, R>,
        same_decoder: fn(&R, &R) -> bool,
    ) {
        let track = |name: &String| TrackRef {
            kind,
            name: name.clone(),
        };
        self.removed.extend(
            old.keys()
                .filter(|name| !new.contains_key(*name))
                .map(track),
        );
        for (name, rendition) in new {
            match old.get(name) {
                None => self.added.push(track(name)),
                Some(before) if before == rendition => {}
                Some(before) if same_decoder(before, rendition) => self.cosmetic.push(track(name)),
                Some(_) => self.changed.push(track(name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        catalog.video.insert(
            "0.avc3".into(),
            VideoRendition {
                codec: "avc3.64001f".into(),
                coded_width: Some(1280),
                coded_height: Some(720),
                ..Default::default()
            },
        );
        catalog.audio.insert(
            "1.opus".into(),
            AudioRendition {
                codec: "opus".into(),
                sample_rate: 48_000,
                channels: 2,
                ..Default::default()
            },
        );
        catalog
    }

    fn video(name: &str) -> TrackRef {
        TrackRef {
            kind: Kind::Video,
            name: name.into(),
        }
    }

    fn audio(name: &str) -> TrackRef {
        TrackRef {
            kind: Kind::Audio,
            name: name.into(),
        }
    }

    #[test]
    fn equal_catalogs_have_no_changes() {
        let changes = catalog().changes(&catalog());
        assert!(changes.is_empty());
        assert!(!changes.requires_action());
    }

    /// Row 24.
    #[test]
    fn a_bitrate_estimate_requires_no_action() {
        let mut new = catalog();
        new.video.get_mut("0.avc3").unwrap().bitrate = Some(4_000_000);
        new.audio.get_mut("1.opus").unwrap().jitter_ms = Some(20);
        let changes = catalog().changes(&new);
        assert_eq!(changes.cosmetic, [video("0.avc3"), audio("1.opus")]);
        assert!(!changes.is_empty());
        assert!(!changes.requires_action());
    }

    #[test]
    fn a_new_size_or_sample_rate_is_a_change() {
        let mut new = catalog();
        let rendition = new.video.get_mut("0.avc3").unwrap();
        rendition.coded_width = Some(1920);
        rendition.bitrate = Some(1);
        new.audio.get_mut("1.opus").unwrap().sample_rate = 24_000;
        let changes = catalog().changes(&new);
        assert_eq!(changes.changed, [video("0.avc3"), audio("1.opus")]);
        assert!(changes.cosmetic.is_empty());
        assert!(changes.requires_action());
    }

    #[test]
    fn tracks_come_and_go() {
        let mut new = catalog();
        let moved = new.audio.remove("1.opus").unwrap();
        new.audio.insert("2.opus".into(), moved);
        let changes = catalog().changes(&new);
        assert_eq!(changes.added, [audio("2.opus")]);
        assert_eq!(changes.removed, [audio("1.opus")]);
        assert!(changes.changed.is_empty());
    }

    #[test]
    fn a_clock_is_worth_telling() {
        let mut new = catalog();
        new.clock = Some(super::super::Clock { wall_us: 1 });
        let changes = catalog().changes(&new);
        assert!(changes.clock && changes.requires_action());
    }
}
