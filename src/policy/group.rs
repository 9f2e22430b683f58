//! Where the groups of a published track start.
//!
//! A video group starts at a closed key frame: it can be decoded by itself. Where only open ones come it starts at one of them
//! now and then, without the pictures that reach back. An audio group is as many packets as
//! fit a duration. The protocol library ends a group at 8192 frames or 32 MiB with an error; a
//! group that comes near gets a key frame asked for, and one that gets there is ended, its
//! track resuming at the next key frame (peer-lessons row 11).

use super::{MILLISECOND, Nanos};

/// How long an audio group lasts by default.
///
/// A group is one QUIC stream, and a subscriber joins at the newest one and gets its backlog. At 128 kbit/s half
/// a second is 8 kB, which fits into the initial congestion window (RFC 9002 §7.2, some 12 kB): audio
/// is at the live edge after one flight. It is two streams a second instead of fifty, and what an aborted
/// group takes with it stays short.
pub const DEFAULT_AUDIO_DURATION: Nanos = 500 * MILLISECOND;

/// How long a group of open GOPs lasts: at the next of their key frames it is cut, if the stream marks what reaches back. Decoders
/// know the mark, but many show a GOP of H.264, which has none, broken when they begin at a recovery point.
///
/// A player that joins gets the group from its start, so that a stream without closed GOPs (x265 makes none unless it is told to) would cost
/// it minutes of backlog. A cut costs the leading pictures behind it: some two frames in four seconds or longer.
pub const LONGEST_OPEN: Nanos = 4_000 * MILLISECOND;

/// What a group may hold.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Frames in a group.
    pub frames: u64,
    /// Bytes in a group, as written: with the headers of the container.
    pub bytes: u64,
    /// A key unit is asked for when a group lasts longer. `None`: as long as it likes.
    pub duration: Option<Nanos>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frames: 8192,
            bytes: 32 << 20,
            duration: None,
        }
    }
}

/// Whether decoding can start with an access unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// It can, and nothing after it refers to anything before it: an IDR, a CRA without such leading pictures, any audio packet.
    Idr,
    /// It can, but pictures shown before it may refer to the GOP before.
    Open,
    /// It cannot.
    None,
}

/// An access unit that is about to be written.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    pub key: Key,
    /// Whether it refers to what was before its key frame, where the stream says (RASL pictures of H.265). `None`: told by its
    /// presentation time.
    pub leading: Option<bool>,
    /// Its size as written.
    pub bytes: u64,
    pub pts: Nanos,
}

/// Why an access unit is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing can be decoded before the first key frame.
    NoKeyFrame,
    /// The group is full; the track resumes at the next key frame.
    GroupFull,
    /// It is larger than a whole group may be.
    TooLarge,
    /// A leading picture of an open GOP, whose reference was not published.
    Leading,
    /// The network could not carry the group in time; the track resumes at the next key frame.
    Late,
}

/// What to do with an access unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Finish the group that is open, and start one with it.
    NewGroup,
    /// Add it to the group that is open.
    Continue,
    /// Leave it out. The group that is open is finished.
    Drop(Reason),
}

/// What [`Grouping::next`] decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    pub action: Action,
    /// Upstream should be asked for a key unit. Set once for each need.
    pub ask_key_unit: bool,
    /// The first of a run of dropped units: the time to warn.
    pub warn: bool,
}

impl Verdict {
    fn of(action: Action) -> Self {
        Self {
            action,
            ask_key_unit: false,
            warn: false,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Video,
    Audio { duration: Nanos },
}

#[derive(Debug, Clone, Copy)]
struct Open {
    frames: u64,
    bytes: u64,
    start: Nanos,
    asked: bool,
    /// It started at an open key frame, presented then: what is shown earlier is not decodable.
    leading_before: Option<Nanos>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Open(Open),
    /// Units are dropped until the next key frame, for this reason.
    Waiting {
        reason: Reason,
        reported: bool,
    },
}

/// Decides where the groups of a track start. See the module.
#[derive(Debug, Clone)]
pub struct Grouping {
    rule: Rule,
    limits: Limits,
    state: State,
}

const START: State = State::Waiting {
    reason: Reason::NoKeyFrame,
    reported: false,
};

impl Grouping {
    /// Groups start at closed key frames.
    pub fn video(limits: Limits) -> Self {
        Self {
            rule: Rule::Video,
            limits,
            state: START,
        }
    }

    /// Groups last `duration`; 0 makes every packet a group.
    pub fn audio(duration: Nanos, limits: Limits) -> Self {
        Self {
            rule: Rule::Audio { duration },
            limits,
            state: START,
        }
    }

    /// Changes how long audio groups last, from the one that is open on.
    pub fn set_duration(&mut self, to: Nanos) {
        if let Rule::Audio { duration } = &mut self.rule {
            *duration = to;
        }
    }

    /// The group that was open is finished: the next one starts as if it was the first.
    pub fn reset(&mut self) {
        self.state = START;
    }

    /// The group that was open is given up: what is left of it is dropped.
    pub fn give_up(&mut self) {
        self.state = State::Waiting {
            reason: Reason::Late,
            reported: true,
        };
    }

    /// Decides on the next access unit in decoding order.
    pub fn next(&mut self, unit: Unit) -> Verdict {
        if unit.bytes > self.limits.bytes {
            return self.wait(Reason::TooLarge);
        }
        match self.state {
            State::Open(open) if !self.starts_group(&open, unit) => self.go_on(open, unit),
            State::Open(_) => self.start(unit, None),
            State::Waiting { .. } if self.always_starts() || unit.key == Key::Idr => {
                self.start(unit, None)
            }
            // A stream of open GOPs alone would never come back otherwise.
            State::Waiting { .. } if unit.key == Key::Open => self.start(unit, Some(unit.pts)),
            State::Waiting { reason, .. } => self.wait(reason),
        }
    }

    fn always_starts(&self) -> bool {
        matches!(self.rule, Rule::Audio { .. })
    }

    fn is_full(&self, open: &Open, unit: Unit) -> bool {
        open.frames >= self.limits.frames || open.bytes + unit.bytes > self.limits.bytes
    }

    fn starts_group(&self, open: &Open, unit: Unit) -> bool {
        match self.rule {
            Rule::Video => unit.key == Key::Idr,
            Rule::Audio { duration } => {
                let elapsed = unit.pts.saturating_sub(open.start);
                elapsed < 0 || elapsed >= duration || self.is_full(open, unit)
            }
        }
    }

    fn start(&mut self, unit: Unit, leading_before: Option<Nanos>) -> Verdict {
        self.state = State::Open(Open {
            frames: 1,
            bytes: unit.bytes,
            start: unit.pts,
            asked: false,
            leading_before,
        });
        Verdict::of(Action::NewGroup)
    }

    fn go_on(&mut self, mut open: Open, unit: Unit) -> Verdict {
        let lasted = unit.pts.saturating_sub(open.start);
        let is_long = unit.leading.is_some() && lasted >= LONGEST_OPEN;
        if unit.key == Key::Open && (is_long || self.is_full(&open, unit)) {
            return self.start(unit, Some(unit.pts));
        }
        if let Some(key) = open.leading_before {
            if unit.leading.unwrap_or(unit.pts < key) {
                return Verdict::of(Action::Drop(Reason::Leading));
            }
            // Leading pictures come right behind their key frame, those that can be decoded among the others.
            if unit.pts >= key {
                open.leading_before = None;
            }
        }
        if self.is_full(&open, unit) {
            return self.wait(Reason::GroupFull);
        }
        open.frames += 1;
        open.bytes += unit.bytes;
        let ask_key_unit = !open.asked && self.is_nearly_full(&open, unit);
        open.asked |= ask_key_unit;
        self.state = State::Open(open);
        Verdict {
            ask_key_unit,
            ..Verdict::of(Action::Continue)
        }
    }

    /// At three quarters of a limit there is time left for an encoder to answer.
    fn is_nearly_full(&self, open: &Open, unit: Unit) -> bool {
        let near = |limit: u64| limit / 4 * 3;
        let lasted = unit.pts.saturating_sub(open.start);
        matches!(self.rule, Rule::Video)
            && (open.frames >= near(self.limits.frames)
                || open.bytes >= near(self.limits.bytes)
                || self.limits.duration.is_some_and(|limit| lasted >= limit))
    }

    fn wait(&mut self, reason: Reason) -> Verdict {
        let first = !matches!(self.state, State::Waiting { reported: true, .. });
        self.state = State::Waiting {
            reason,
            reported: true,
        };
        Verdict {
            action: Action::Drop(reason),
            ask_key_unit: first && matches!(self.rule, Rule::Video),
            warn: first && reason != Reason::NoKeyFrame,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Nanos = 16 * MILLISECOND;

    fn unit(n: i64, key: Key) -> Unit {
        Unit {
            key,
            leading: None,
            bytes: 1000,
            pts: n * FRAME,
        }
    }

    fn video() -> Grouping {
        Grouping::video(Limits::default())
    }

    #[test]
    fn groups_start_at_closed_key_frames_only() {
        let mut g = video();
        let keys = [Key::Idr, Key::None, Key::Open, Key::None, Key::Idr];
        let got: Vec<Action> = (0..)
            .zip(keys)
            .map(|(n, key)| g.next(unit(n, key)).action)
            .collect();
        use Action::*;
        assert_eq!(got, [NewGroup, Continue, Continue, Continue, NewGroup]);
    }

    #[test]
    fn before_the_first_key_frame_units_are_dropped_and_one_is_asked_for_without_warning() {
        let mut g = video();
        let first = g.next(unit(0, Key::None));
        assert_eq!(first.action, Action::Drop(Reason::NoKeyFrame));
        assert!(first.ask_key_unit && !first.warn);
        assert!(!g.next(unit(1, Key::None)).ask_key_unit);
        assert_eq!(g.next(unit(2, Key::Idr)).action, Action::NewGroup);
    }

    #[test]
    fn a_key_unit_is_asked_for_once_at_three_quarters_of_the_frames_row_11() {
        let mut g = video();
        let _ = g.next(unit(0, Key::Idr));
        let asked: Vec<i64> = (1..8192)
            .filter(|&n| g.next(unit(n, Key::None)).ask_key_unit)
            .collect();
        assert_eq!(asked, [8192 / 4 * 3 - 1]);
        let full = g.next(unit(8192, Key::None));
        assert_eq!(full.action, Action::Drop(Reason::GroupFull));
        assert!(full.warn && full.ask_key_unit);
        let more = g.next(unit(8193, Key::None));
        assert_eq!(more.action, Action::Drop(Reason::GroupFull));
        assert!(!more.warn && !more.ask_key_unit);
        assert_eq!(g.next(unit(8194, Key::Idr)).action, Action::NewGroup);
        assert!(!g.next(unit(8195, Key::None)).ask_key_unit);
    }

    #[test]
    fn the_bytes_of_a_group_stay_within_the_limit_row_11() {
        let mut g = video();
        let large = |n, key| Unit {
            bytes: 1 << 20,
            ..unit(n, key)
        };
        let _ = g.next(large(0, Key::Idr));
        let asked: Vec<i64> = (1..32)
            .filter(|&n| g.next(large(n, Key::None)).ask_key_unit)
            .collect();
        assert_eq!(asked, [23]);
        assert_eq!(
            g.next(large(32, Key::None)).action,
            Action::Drop(Reason::GroupFull)
        );
    }

    #[test]
    fn a_unit_that_no_group_can_hold_is_dropped_and_the_rest_of_its_gop_with_it() {
        let mut g = video();
        let _ = g.next(unit(0, Key::Idr));
        let verdict = g.next(Unit {
            bytes: (32 << 20) + 1,
            ..unit(1, Key::Idr)
        });
        assert_eq!(verdict.action, Action::Drop(Reason::TooLarge));
        assert!(verdict.warn && verdict.ask_key_unit);
        assert!(matches!(g.next(unit(2, Key::None)).action, Action::Drop(_)));
        assert_eq!(g.next(unit(3, Key::Idr)).action, Action::NewGroup);
    }

    #[test]
    fn a_stream_of_open_gops_resumes_without_its_leading_pictures() {
        let mut g = video();
        let steps = [
            (5, Key::Open, Action::NewGroup),
            (3, Key::None, Action::Drop(Reason::Leading)),
            (4, Key::None, Action::Drop(Reason::Leading)),
            (8, Key::None, Action::Continue),
            (6, Key::None, Action::Continue),
        ];
        for (n, key, action) in steps {
            assert_eq!(g.next(unit(n, key)).action, action, "{n}");
        }
    }

    #[test]
    fn of_leading_pictures_that_say_what_they_are_the_decodable_ones_stay() {
        let mut g = video();
        let steps = [
            (5, Key::Open, None, Action::NewGroup),
            (3, Key::None, Some(true), Action::Drop(Reason::Leading)),
            (2, Key::None, Some(false), Action::Continue),
            (4, Key::None, Some(true), Action::Drop(Reason::Leading)),
            (8, Key::None, Some(false), Action::Continue),
            (7, Key::None, Some(true), Action::Continue),
        ];
        for (n, key, leading, action) in steps {
            let unit = Unit {
                leading,
                ..unit(n, key)
            };
            assert_eq!(g.next(unit).action, action, "{n}");
        }
    }

    #[test]
    fn a_full_group_of_open_gops_is_cut_at_the_next_of_them() {
        let mut g = Grouping::video(Limits {
            frames: 4,
            ..Limits::default()
        });
        let keys = [Key::Idr, Key::None, Key::None, Key::None, Key::Open];
        let last = (0..)
            .zip(keys)
            .map(|(n, key)| g.next(unit(n, key)).action)
            .last();
        assert_eq!(last, Some(Action::NewGroup));
    }

    #[test]
    fn a_stream_of_marked_open_gops_is_cut_every_few_seconds() {
        let groups = |leading: Option<bool>| -> Vec<i64> {
            let mut g = video();
            let starts = |n: &i64| {
                let key = match n % 60 {
                    0 if *n == 0 => Key::Idr,
                    0 => Key::Open,
                    _ => Key::None,
                };
                let unit = Unit {
                    leading,
                    ..unit(*n, key)
                };
                g.next(unit).action == Action::NewGroup
            };
            (0..1_000).filter(starts).collect()
        };
        // The first key frame after 4 s of 16 ms.
        assert_eq!(groups(Some(false)), [0, 300, 600, 900]);
        assert_eq!(groups(None), [0]);
    }

    #[test]
    fn a_gop_longer_than_asked_for_gets_a_key_unit_requested_once() {
        let mut g = Grouping::video(Limits {
            duration: Some(10 * FRAME),
            ..Limits::default()
        });
        let _ = g.next(unit(0, Key::Idr));
        let asked: Vec<i64> = (1..100)
            .filter(|&n| g.next(unit(n, Key::None)).ask_key_unit)
            .collect();
        assert_eq!(asked, [10]);
    }

    fn audio_starts(duration: Nanos, pts: impl Iterator<Item = Nanos>) -> Vec<usize> {
        let mut g = Grouping::audio(duration, Limits::default());
        pts.map(|pts| {
            let unit = Unit {
                key: Key::None,
                leading: None,
                bytes: 160,
                pts,
            };
            g.next(unit).action
        })
        .enumerate()
        .filter(|(_, action)| *action == Action::NewGroup)
        .map(|(n, _)| n)
        .collect()
    }

    #[test]
    fn audio_is_grouped_by_duration_row_15() {
        let pts = (0..100).map(|n| n * 20 * MILLISECOND);
        assert_eq!(
            audio_starts(DEFAULT_AUDIO_DURATION, pts.clone()),
            [0, 25, 50, 75]
        );
        assert_eq!(audio_starts(0, pts).len(), 100);
    }

    #[test]
    fn audio_that_goes_back_starts_a_group() {
        let pts = [100, 120, 140, 0, 20].map(|ms| ms * MILLISECOND);
        assert_eq!(
            audio_starts(DEFAULT_AUDIO_DURATION, pts.into_iter()),
            [0, 3]
        );
    }

    #[test]
    fn endless_audio_groups_roll_at_the_limit_without_a_loss() {
        let pts = (0..20_000).map(|n| n * MILLISECOND);
        assert_eq!(audio_starts(Nanos::MAX, pts), [0, 8192, 16384]);
    }
}
