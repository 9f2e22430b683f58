//! A clock in the picture and in the sound that programs read, to measure what people see and hear: glass to glass.
//!
//! The picture carries the wall clock of its frame as two rows of black and white cells, which survive lossy coding; the sound
//! carries a short chirp at each whole second of the same clock. Both are functions of the running time of one pipeline, so that
//! a frame and a sample that belong together tell the same time.
//!
//! `tests/browser/burnt-clock.mjs` reads both in a page.

#![allow(dead_code)]

use std::{
    f64::consts::PI,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gst::prelude::*;

/// Since 1970-01-01T00:00:00Z, ns.
pub type Wall = i64;

/// A cell of the code, in pixels: as large as a transform of H.264, and on its grid.
const CELL: usize = 8;
/// The left upper corner of the code.
const LEFT: usize = 16;
const TOP: usize = 16;
/// 48 bits of time and 16 of CRC, most significant first, fill the rows.
const ROWS: usize = 2;
const COLUMNS: usize = 32;
/// What the code counts in, ns.
const UNIT: Wall = 100_000;
/// Luma of studio range.
const BLACK: u8 = 16;
const WHITE: u8 = 235;

/// Black around the cells, for the eye, in pixels.
const FRAME: usize = 4;

/// Pixels that a picture must have.
pub const MIN_WIDTH: usize = LEFT + COLUMNS * CELL + FRAME;
pub const MIN_HEIGHT: usize = TOP + ROWS * CELL + FRAME;

/// The chirp rises from the one to the other, in Hz, under a Hann window.
const CHIRP: (f64, f64) = (1000.0, 4000.0);
const CHIRP_LENGTH: f64 = 0.010;
const CHIRP_LEVEL: f32 = 0.5;
/// Normalised correlation from which on it is the chirp.
const ALIKE: f32 = 0.6;
/// Softer is silence.
const AUDIBLE: f32 = 0.02;

const SECOND: Wall = 1_000_000_000;

pub fn now() -> Wall {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Wall::try_from(since.as_nanos()).unwrap_or(Wall::MAX)
}

/// Writes the time into a plane of luma (of I420, NV12 or GRAY8) whose rows are `stride` bytes apart; a smaller one stays as it is.
pub fn paint(luma: &mut [u8], stride: usize, wall: Wall) {
    if stride < MIN_WIDTH || luma.len() < stride * MIN_HEIGHT {
        return;
    }
    let time = (wall / UNIT).cast_unsigned() & 0xffff_ffff_ffff;
    let code = time << 16 | u64::from(crc(time));
    for row in luma.chunks_mut(stride).take(MIN_HEIGHT).skip(TOP - FRAME) {
        row[LEFT - FRAME..MIN_WIDTH].fill(BLACK);
    }
    for (at, row) in luma
        .chunks_mut(stride)
        .skip(TOP)
        .take(ROWS * CELL)
        .enumerate()
    {
        for (column, cell) in row[LEFT..LEFT + COLUMNS * CELL]
            .chunks_mut(CELL)
            .enumerate()
        {
            let bit = 63 - (at / CELL * COLUMNS + column);
            cell.fill(if code >> bit & 1 == 1 { WHITE } else { BLACK });
        }
    }
}

/// The time that was written into this picture, to a tenth of a millisecond; `None` if the code was damaged or is not there.
pub fn read(luma: &[u8], stride: usize) -> Option<Wall> {
    if stride < MIN_WIDTH || luma.len() < stride * MIN_HEIGHT {
        return None;
    }
    // The edges of a cell blur into its neighbours.
    let inner = 2..CELL - 2;
    let middle = (u32::from(BLACK) + u32::from(WHITE)) / 2 * (inner.len() * inner.len()) as u32;
    let mut code = 0_u64;
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let sum: u32 = inner
                .clone()
                .map(|line| {
                    let start = (TOP + row * CELL + line) * stride + LEFT + column * CELL;
                    let cells = &luma[start + inner.start..start + inner.end];
                    cells.iter().map(|luma| u32::from(*luma)).sum::<u32>()
                })
                .sum();
            code = code << 1 | u64::from(sum > middle);
        }
    }
    let time = code >> 16;
    if code as u16 != crc(time) {
        return None;
    }
    time.cast_signed().checked_mul(UNIT)
}

/// CRC-16/CCITT of the six bytes of a time; a black picture is no code.
fn crc(time: u64) -> u16 {
    time.to_be_bytes()[2..].iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

fn chirp(rate: u32) -> Vec<f32> {
    let count = (CHIRP_LENGTH * f64::from(rate)).round() as usize;
    (0..count)
        .map(|at| {
            let time = at as f64 / f64::from(rate);
            let window = 0.5 - 0.5 * (2.0 * PI * time / CHIRP_LENGTH).cos();
            let rise = (CHIRP.1 - CHIRP.0) / CHIRP_LENGTH;
            let phase = 2.0 * PI * (CHIRP.0 * time + rise * time * time / 2.0);
            (window * phase.sin()) as f32
        })
        .collect()
}

/// Adds the part of each whole second's chirp that falls into these samples (all channels side by side); the first of them
/// sounds at `wall`.
pub fn add_chirps(samples: &mut [f32], channels: usize, rate: u32, wall: Wall) {
    let chirp = chirp(rate);
    let count = (samples.len() / channels) as i64;
    let index = |wall: Wall| (wall as i128 * i128::from(rate) / i128::from(SECOND)) as i64;
    // A chirp that began before may reach into these.
    let first = wall.div_euclid(SECOND);
    for second in first..=first + 1 + count / i64::from(rate) {
        let start = index(second * SECOND - wall);
        for (at, value) in chirp.iter().enumerate() {
            let frame = start + at as i64;
            if (0..count).contains(&frame) {
                let frame = frame as usize * channels;
                for sample in &mut samples[frame..frame + channels] {
                    *sample += CHIRP_LEVEL * value;
                }
            }
        }
    }
}

/// Where chirps begin among the samples of one channel.
pub fn find_chirps(samples: &[f32], rate: u32) -> Vec<usize> {
    let chirp = chirp(rate);
    let energy: f32 = chirp.iter().map(|value| value * value).sum();
    let mut found: Vec<(usize, f32)> = Vec::new();
    for (at, window) in samples.windows(chirp.len()).enumerate() {
        // The loud middle of a chirp tells whether it is worth looking closer.
        if window[chirp.len() / 2 - 8..chirp.len() / 2 + 8]
            .iter()
            .all(|sample| sample.abs() < AUDIBLE)
        {
            continue;
        }
        let (mut product, mut power) = (0.0, 0.0);
        for (sample, value) in window.iter().zip(&chirp) {
            product += sample * value;
            power += sample * sample;
        }
        let alike = product / (power * energy).sqrt();
        if alike < ALIKE {
            continue;
        }
        match found.last_mut() {
            Some(last) if at - last.0 < chirp.len() => {
                if alike > last.1 {
                    *last = (at, alike);
                }
            }
            _ => found.push((at, alike)),
        }
    }
    found.into_iter().map(|(at, _)| at).collect()
}

/// Burns the clock into what leaves the raw sources of one pipeline.
#[derive(Debug, Default)]
pub struct Burner {
    /// Of running time 0, the same for picture and sound.
    origin: OnceLock<Wall>,
    /// By how much the pipeline's clock is faster than the wall clock, ppm.
    ppm: i64,
}

impl Burner {
    /// Of a pipeline whose clock is faster than the wall clock by so many ppm.
    pub fn skewed(ppm: i64) -> Self {
        Self {
            ppm,
            ..Self::default()
        }
    }

    /// Paints each frame (I420, NV12 or GRAY8, with the default strides of GStreamer) of a live source with its own time.
    pub fn paint(self: &Arc<Self>, pad: &gst::Pad) {
        let burner = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let Some(buffer) = info.buffer_mut() else {
                return gst::PadProbeReturn::Ok;
            };
            let width = format(pad, "width");
            if let (Some(wall), Some(width)) = (burner.wall(pad, buffer), width)
                && let Ok(mut map) = buffer.make_mut().map_writable()
            {
                paint(&mut map, width.next_multiple_of(4), wall);
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Adds the chirps to the sound (F32LE, interleaved) of a live source.
    pub fn sound(self: &Arc<Self>, pad: &gst::Pad) {
        let burner = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let Some(buffer) = info.buffer_mut() else {
                return gst::PadProbeReturn::Ok;
            };
            let rate = format(pad, "rate").and_then(|rate| u32::try_from(rate).ok());
            let channels = format(pad, "channels");
            if let (Some(wall), Some(rate), Some(channels)) =
                (burner.wall(pad, buffer), rate, channels)
            {
                let buffer = buffer.make_mut();
                // What was silence is none now.
                buffer.unset_flags(gst::BufferFlags::GAP);
                if let Ok(mut map) = buffer.map_writable() {
                    let mut samples = floats(&map);
                    add_chirps(&mut samples, channels, rate, wall);
                    for (bytes, sample) in map.as_chunks_mut::<4>().0.iter_mut().zip(samples) {
                        *bytes = sample.to_le_bytes();
                    }
                }
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// The wall clock when this buffer is captured, by its running time.
    pub fn wall(&self, pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<Wall> {
        let segment = pad.sticky_event::<gst::event::Segment>(0)?;
        let segment = segment.segment().downcast_ref::<gst::ClockTime>()?;
        let running = self.elapsed(segment.to_running_time(buffer.pts())?)?;
        let origin = match self.origin.get() {
            Some(origin) => *origin,
            None => {
                let running = pad.parent_element()?.current_running_time()?;
                let origin = now() - self.elapsed(running)?;
                *self.origin.get_or_init(|| origin)
            }
        };
        Some(origin + running)
    }

    /// What the wall clock went on by while the pipeline's did by this.
    fn elapsed(&self, running: gst::ClockTime) -> Option<Wall> {
        let running = Wall::try_from(running.nseconds()).ok()?;
        Some(running - running / (1_000_000 + self.ppm) * self.ppm)
    }
}

/// A number of the pad's caps.
fn format(pad: &gst::Pad, field: &str) -> Option<usize> {
    let number = pad.current_caps()?.structure(0)?.get::<i32>(field).ok()?;
    usize::try_from(number).ok()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (samples, _) = bytes.as_chunks::<4>();
    samples
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

/// How late something was, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When it was shown or heard.
    pub at: Wall,
    /// After the time that it tells.
    pub late: Wall,
}

/// Reads the clock from the frames (GRAY8) that a sink shows as it shows them.
#[derive(Debug, Clone, Default)]
pub struct Eye(Arc<Mutex<(Vec<Seen>, usize)>>);

impl Eye {
    pub fn look(&self, at: Wall, luma: &[u8], width: usize) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match read(luma, width.next_multiple_of(4)) {
            Some(wall) => seen.0.push(Seen {
                at,
                late: at - wall,
            }),
            None => seen.1 += 1,
        }
    }

    /// Of each frame.
    pub fn seen(&self) -> Vec<Seen> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    /// Frames without a code.
    pub fn unread(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// Hears the chirps in the sound that a sink plays as it plays it.
#[derive(Debug, Clone, Default)]
pub struct Ear(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    samples: Vec<f32>,
    /// Index of a sample, and when it sounded.
    marks: Vec<(usize, Wall)>,
}

impl Ear {
    /// Takes interleaved F32LE whose first sample sounds at `at`; one channel is listened to.
    pub fn listen(&self, at: Wall, bytes: &[u8], channels: usize) {
        let samples = floats(bytes);
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = (heard.samples.len(), at);
        heard.marks.push(mark);
        heard
            .samples
            .extend(samples.iter().step_by(channels.max(1)));
    }

    /// Of each chirp that was heard, against the whole second before it.
    pub fn seen(&self, rate: u32) -> Vec<Seen> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.chirps(rate)
    }

    /// The same, and forgets what was heard. Of a chirp that may still sound, and all before it, it tells the next time.
    pub fn drain(&self, rate: u32) -> Vec<Seen> {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The soft beginning of a chirp looks like silence.
        let kept = chirp(rate).len();
        let is_silent = |samples: &[f32]| samples.iter().all(|sample| sample.abs() < AUDIBLE);
        let quiet = heard.samples.len().saturating_sub(2 * kept);
        if quiet == 0 || !is_silent(&heard.samples[quiet..]) {
            return Vec::new();
        }
        let from = heard.samples.len() - kept;
        let after = heard.marks.partition_point(|(first, _)| *first <= from);
        let rest = Heard {
            samples: heard.samples[from..].to_vec(),
            marks: heard.marks[after.saturating_sub(1)..]
                .iter()
                .map(|(first, at)| {
                    let sounded = from.saturating_sub(*first) as Wall * SECOND;
                    (first.saturating_sub(from), at + sounded / Wall::from(rate))
                })
                .collect(),
        };
        let heard = std::mem::replace(&mut *heard, rest);
        heard.chirps(rate)
    }
}

impl Heard {
    fn chirps(&self, rate: u32) -> Vec<Seen> {
        find_chirps(&self.samples, rate)
            .into_iter()
            .map(|index| {
                let after = self.marks.partition_point(|(first, _)| *first <= index);
                let (first, at) = self.marks[after.saturating_sub(1)];
                let at = at + (index - first) as Wall * SECOND / Wall::from(rate);
                Seen {
                    at,
                    late: at.rem_euclid(SECOND),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Wall = 1_763_722_930_123_400_000;

    fn picture(wall: Wall) -> Vec<u8> {
        let mut luma = vec![128; 320 * 64];
        paint(&mut luma, 320, wall);
        luma
    }

    #[test]
    fn a_time_is_read_as_it_was_painted() {
        for wall in [0, UNIT, WALL, WALL + 99 * UNIT] {
            assert_eq!(read(&picture(wall), 320), Some(wall));
        }
        assert_eq!(read(&picture(WALL + UNIT - 1), 320), Some(WALL));
    }

    #[test]
    fn noise_and_blur_do_not_matter_and_a_damaged_code_is_none() {
        let mut luma = picture(WALL);
        for at in (1..luma.len()).rev() {
            let noise = (at * 7919 % 61) as i16 - 30;
            let blurred = (i16::from(luma[at]) + i16::from(luma[at - 1])) / 2;
            luma[at] = (blurred + noise).clamp(0, 255) as u8;
        }
        assert_eq!(read(&luma, 320), Some(WALL));
        for line in TOP..TOP + CELL {
            for luma in &mut luma[line * 320 + LEFT..line * 320 + LEFT + CELL] {
                *luma = !*luma;
            }
        }
        assert_eq!(read(&luma, 320), None);
    }

    #[test]
    fn a_picture_without_the_code_has_no_time() {
        for level in [0, 16, 128, 255] {
            assert_eq!(read(&[level; 320 * 64], 320), None);
        }
        assert_eq!(read(&[0; 64], 8), None);
        let mut small = [5; 64];
        paint(&mut small, 8, WALL);
        assert_eq!(small, [5; 64]);
    }

    #[test]
    fn chirps_are_found_to_the_sample_where_whole_seconds_begin() {
        let (rate, channels, start) = (48_000, 2, WALL);
        // In pieces, one of which the chirp begins in and another one it ends in.
        let pieces = (0..300).flat_map(|piece| {
            let mut samples = vec![0.0; 480 * channels];
            add_chirps(&mut samples, channels, rate, start + piece * SECOND / 100);
            samples.into_iter().step_by(channels)
        });
        let samples: Vec<f32> = pieces.collect();
        let first = (SECOND - start.rem_euclid(SECOND)) as usize * rate as usize / SECOND as usize;
        let expected = [first, first + 48_000, first + 96_000];
        let found = find_chirps(&samples, rate);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.abs_diff(expected) <= 1, "{found} and {expected}");
        }
    }

    #[test]
    fn a_tone_is_no_chirp() {
        let tone: Vec<f32> = (0..48_000).map(|at| (at as f32 * 0.2).sin()).collect();
        assert!(find_chirps(&tone, 48_000).is_empty());
        assert!(find_chirps(&vec![0.0; 48_000], 48_000).is_empty());
    }

    #[test]
    fn an_ear_tells_how_late_the_second_was_heard() {
        let ear = Ear::default();
        let late = 217_000_000;
        for piece in 0..200 {
            let wall = WALL + piece * SECOND / 100;
            let mut samples = vec![0.0; 480];
            add_chirps(&mut samples, 1, 48_000, wall);
            let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
            ear.listen(wall + late, &bytes, 1);
        }
        let seen = ear.seen(48_000);
        assert_eq!(seen.len(), 2, "{seen:?}");
        for seen in seen {
            assert!((seen.late - late).abs() < 50_000, "{seen:?}");
        }
    }

    #[test]
    fn an_ear_that_is_emptied_under_way_misses_nothing_and_hears_nothing_twice() {
        // The second begins in the 88th piece and ends in the next one: whenever it is emptied.
        for emptied in 80..100 {
            let ear = Ear::default();
            let late = 217_000_000;
            let mut seen = Vec::new();
            for piece in 0..150 {
                let wall = WALL + piece * SECOND / 100;
                let mut samples = vec![0.0; 480];
                add_chirps(&mut samples, 1, 48_000, wall);
                let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
                ear.listen(wall + late, &bytes, 1);
                if piece >= emptied {
                    seen.extend(ear.drain(48_000));
                }
            }
            seen.extend(ear.seen(48_000));
            assert_eq!(seen.len(), 1, "{emptied}: {seen:?}");
            assert!((seen[0].late - late).abs() < 50_000, "{seen:?}");
        }
    }
}
