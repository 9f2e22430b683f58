//! Fragments: moof and mdat.

use bytes::Bytes;
use mp4_atom::{
    Atom, Encode, Header, Mdat, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry, TrunSamples,
};

use super::boxes::{Mp4Box, boxes};
use super::init::{Init, Track};
use crate::media::container::{ContainerError, Frame, List, Sample, gather, micros};

/// Most samples that one object may hold; as many as peers allow frames in a group.
const MAX_SAMPLES: usize = 8_192;

/// More than moof and the header of mdat take.
const HEADER_LEN: usize = 128;

/// sample_depends_on: it does not; sample_is_non_sync_sample is 0 (ISO/IEC 14496-12 §8.8.3.1).
const KEY_FLAGS: u32 = 0x0200_0000;
/// sample_depends_on: it does; sample_is_non_sync_sample.
const DELTA_FLAGS: u32 = 0x0101_0000;

/// Makes the fragments of one track, one sample each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoder {
    track: Track,
    /// Of the newest fragment. What it has allocated serves the next one.
    moof: Moof,
    /// Written moof and header of mdat, likewise.
    header: Vec<u8>,
}

impl Encoder {
    pub fn new(init: &Init) -> Self {
        Self {
            track: init.track,
            moof: moof(&init.track),
            header: Vec::with_capacity(HEADER_LEN),
        }
    }

    /// The fragment of one sample.
    ///
    /// # Errors
    /// [`ContainerError::TimestampTooLarge`] for times that do not fit, [`ContainerError::Samples`] for a sample without
    /// bytes or of 4 GiB.
    pub fn encode(&mut self, sample: &Sample<'_>) -> Result<Bytes, ContainerError> {
        let total: usize = sample.parts.iter().map(|part| part.len()).sum();
        let size = u32::try_from(total).map_err(|_| ContainerError::Samples)?;
        if size == 0 {
            return Err(ContainerError::Samples);
        }
        let (dts, entry) = self.entry(sample, size)?;
        let refused = |_| ContainerError::Samples;
        let (moof, header) = (&mut self.moof, &mut self.header);
        moof.mfhd.sequence_number = moof.mfhd.sequence_number.wrapping_add(1);
        for traf in &mut moof.traf {
            traf.tfdt = Some(Tfdt {
                base_media_decode_time: dts,
            });
            for trun in &mut traf.trun {
                if let TrunSamples::Explicit(entries) = &mut trun.samples {
                    entries.clear();
                    entries.push(entry);
                }
            }
        }
        // Where the data is depends on how long the moof is, which does not depend on that number.
        header.clear();
        moof.encode(header).map_err(refused)?;
        for trun in moof.traf.iter_mut().flat_map(|traf| &mut traf.trun) {
            trun.data_offset = Some(header.len() as i32 + 8);
        }
        header.clear();
        moof.encode(header).map_err(refused)?;
        let mdat = Header {
            kind: Mdat::KIND,
            size: Some(total),
        };
        mdat.encode(header).map_err(refused)?;
        Ok(gather(&[header], sample.parts))
    }

    /// The decoding time, in units of the track, and what else is said of the sample.
    fn entry(&self, sample: &Sample<'_>, size: u32) -> Result<(u64, TrunEntry), ContainerError> {
        let too_large = ContainerError::TimestampTooLarge;
        let dts_us = sample.dts_us.unwrap_or(sample.pts_us);
        let (pts, dts) = (self.ticks(sample.pts_us)?, self.ticks(dts_us)?);
        let offset = i32::try_from(i128::from(pts) - i128::from(dts)).map_err(|_| too_large)?;
        let offset = i64::from(offset);
        let duration = sample.duration_us.map(|duration| self.ticks(duration));
        let duration = duration
            .transpose()?
            .and_then(|ticks| u32::try_from(ticks).ok());
        let is_key = sample.key || self.track.is_audio;
        let entry = TrunEntry {
            duration: duration.filter(|duration| *duration > 0),
            size: Some(size),
            flags: Some(if is_key { KEY_FLAGS } else { DELTA_FLAGS }),
            cts: (offset != 0).then_some(offset),
        };
        Ok((dts, entry))
    }

    /// Rounded to the nearest.
    fn ticks(&self, us: u64) -> Result<u64, ContainerError> {
        let ticks = (u128::from(us) * u128::from(self.track.timescale) + 500_000) / 1_000_000;
        u64::try_from(ticks).map_err(|_| ContainerError::TimestampTooLarge)
    }
}

/// Before the first fragment, with one sample in one run.
fn moof(track: &Track) -> Moof {
    Moof {
        mfhd: Mfhd { sequence_number: 0 },
        traf: vec![Traf {
            tfhd: Tfhd {
                track_id: track.id,
                default_base_is_moof: true,
                ..Tfhd::default()
            },
            tfdt: None,
            trun: vec![Trun {
                data_offset: Some(0),
                samples: TrunSamples::Explicit(Vec::with_capacity(1)),
            }],
            ..Traf::default()
        }],
    }
}

/// Takes the fragments of one track apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    track: Track,
}

impl Decoder {
    pub fn new(init: &Init) -> Self {
        Self { track: init.track }
    }

    /// The frames of one object, sharing its memory: usually one fragment, but any number of them, and boxes of other kinds
    /// (styp, prft, emsg, sidx), are accepted.
    ///
    /// # Errors
    /// [`ContainerError::Box`], [`ContainerError::NoTimestamp`], [`ContainerError::Samples`] and
    /// [`ContainerError::TimestampTooLarge`].
    pub fn decode(&self, object: &Bytes) -> Result<List<Frame>, ContainerError> {
        let mut frames = List::new();
        let mut fragment = None;
        let mut fragments = 0;
        for found in boxes(object) {
            match found.kind {
                b"moof" => {
                    fragment = Some(self.read_moof(&found, MAX_SAMPLES - frames.len())?);
                    fragments += 1;
                }
                b"mdat" => {
                    let runs = fragment.take().ok_or(ContainerError::Box("moof"))?;
                    cut(object, &found, runs, &mut frames)?;
                }
                _ => {}
            }
        }
        if fragments == 0 {
            return Err(ContainerError::Box("moof"));
        }
        if fragment.is_some() {
            return Err(ContainerError::Box("mdat"));
        }
        Ok(frames)
    }

    /// The runs of this decoder's track.
    fn read_moof(
        &self,
        moof: &Mp4Box<'_>,
        max_samples: usize,
    ) -> Result<List<Run>, ContainerError> {
        let mut runs = List::new();
        let mut left = max_samples;
        for traf in moof.children(0).filter(|child| child.kind == b"traf") {
            let tfhd: Tfhd = traf.child("tfhd")?.decode("tfhd")?;
            if tfhd.track_id != self.track.id {
                continue;
            }
            let tfdt = traf
                .child("tfdt")
                .map_err(|_| ContainerError::NoTimestamp)?;
            let tfdt: Tfdt = tfdt.decode("tfdt")?;
            let mut dts = i128::from(tfdt.base_media_decode_time);
            for trun in traf.children(0).filter(|child| child.kind == b"trun") {
                let trun: Trun = trun.decode("trun")?;
                left = left
                    .checked_sub(trun.samples.len())
                    .ok_or(ContainerError::Samples)?;
                // An offset from the start of a file means nothing here: then data starts where mdat's does.
                let start = trun
                    .data_offset
                    .filter(|_| tfhd.base_data_offset.is_none())
                    .map(|offset| moof.start as i64 + i64::from(offset));
                let samples = self.read_samples(&tfhd, &trun.samples, &mut dts)?;
                runs.push(Run { start, samples });
            }
        }
        Ok(runs)
    }

    fn read_samples(
        &self,
        tfhd: &Tfhd,
        entries: &TrunSamples,
        dts: &mut i128,
    ) -> Result<List<RunSample>, ContainerError> {
        let track = &self.track;
        let timescale = track.timescale.into();
        let mut samples = List::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let duration = entry
                .duration
                .or(tfhd.default_sample_duration)
                .unwrap_or(track.default_duration);
            // Without it, nothing says when the next one is.
            if duration == 0 && index + 1 < entries.len() {
                return Err(ContainerError::NoTimestamp);
            }
            let size = entry.size.or(tfhd.default_sample_size);
            let flags = entry.flags.or(tfhd.default_sample_flags);
            samples.push(RunSample {
                pts_us: micros(*dts + i128::from(entry.cts.unwrap_or(0)), timescale)?,
                duration_us: Some(micros(duration.into(), timescale)?).filter(|us| *us > 0),
                key: track.is_audio || is_key(flags.unwrap_or(track.default_flags)),
                size: size.unwrap_or(track.default_size) as usize,
            });
            *dts += i128::from(duration);
        }
        Ok(samples)
    }
}

/// Samples that lie one behind the other.
struct Run {
    /// Where in the object; directly behind the run before, or at the start of mdat, if `None`.
    start: Option<i64>,
    samples: List<RunSample>,
}

struct RunSample {
    pts_us: u64,
    duration_us: Option<u64>,
    key: bool,
    size: usize,
}

/// sample_depends_on where it says something, otherwise sample_is_non_sync_sample (ISO/IEC 14496-12 §8.8.3.1).
fn is_key(flags: u32) -> bool {
    match flags >> 24 & 3 {
        0 => flags & 0x1_0000 == 0,
        depends_on => depends_on == 2,
    }
}

/// Cuts the samples of a fragment out of its mdat.
fn cut(
    object: &Bytes,
    mdat: &Mp4Box<'_>,
    runs: List<Run>,
    frames: &mut List<Frame>,
) -> Result<(), ContainerError> {
    let (body_start, body_end) = (mdat.body_start, mdat.body_start + mdat.body.len());
    let mut at = body_start;
    for run in runs {
        if let Some(start) = run.start {
            at = usize::try_from(start).map_err(|_| ContainerError::Samples)?;
        }
        for sample in run.samples {
            let end = at.checked_add(sample.size).ok_or(ContainerError::Samples)?;
            if at < body_start || end > body_end {
                return Err(ContainerError::Samples);
            }
            frames.push(Frame {
                pts_us: sample.pts_us,
                duration_us: sample.duration_us,
                key: Some(sample.key),
                payload: object.slice(at..end),
            });
            at = end;
        }
    }
    Ok(())
}
