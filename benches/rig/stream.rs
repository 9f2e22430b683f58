//! The stream that is sent: encoded once, kept in a file, sent at its pace by every run.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
};

use gst::prelude::*;

use crate::Result;

/// Frames a second; a key frame each second.
const RATE: u32 = 60;

/// kbit/s from which on the picture is 1920x1080.
const LARGE: u32 = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Video,
    Audio,
}

/// One access unit or packet.
pub struct Packet {
    pub kind: Kind,
    pub key: bool,
    /// ns
    pub pts: u64,
    pub duration: u64,
    pub payload: Vec<u8>,
}

/// Packets in order of time.
pub struct Stream {
    /// Lines of the picture.
    pub height: u32,
    pub video_caps: String,
    pub audio_caps: String,
    pub packets: Vec<Packet>,
}

impl Stream {
    /// H.264 of 60 frames a second, 720p or at high bitrates 1080p, and stereo Opus.
    pub fn encode(seconds: f64, kbit: u32) -> Result<Self> {
        let frames = (seconds * f64::from(RATE)) as u64;
        // A picture that moves and has noise in it: each access unit is another, and the encoder needs all of its bitrate.
        let (width, height, pattern) = match kbit < LARGE {
            true => (1280, 720, "smpte horizontal-speed=4"),
            false => (1920, 1080, "snow"),
        };
        let (video_caps, mut packets) = collect(
            Kind::Video,
            &format!(
                "videotestsrc num-buffers={frames} pattern={pattern} ! \
                 video/x-raw,width={width},height={height},framerate={RATE}/1,format=I420 ! \
                 x264enc tune=zerolatency speed-preset=ultrafast bitrate={kbit} key-int-max={RATE} ! \
                 h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au"
            ),
        )?;
        let (audio_caps, audio) = collect(
            Kind::Audio,
            &format!(
                "audiotestsrc wave=pink-noise samplesperbuffer=960 num-buffers={} ! audio/x-raw,rate=48000,channels=2 ! \
                 opusenc bitrate=96000 frame-size=20",
                (seconds * 50.0) as u64
            ),
        )?;
        packets.extend(audio);
        packets.sort_by_key(|packet| packet.pts);
        Ok(Self {
            height,
            video_caps,
            audio_caps,
            packets,
        })
    }

    /// kbit/s of video.
    pub fn bitrate(&self) -> f64 {
        let video = || self.packets.iter().filter(|p| p.kind == Kind::Video);
        let bits: usize = video().map(|p| p.payload.len() * 8).sum();
        bits as f64 / 1000.0 / (video().count() as f64 / f64::from(RATE))
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for caps in [&self.video_caps, &self.audio_caps] {
            write_bytes(&mut file, caps.as_bytes())?;
        }
        for packet in &self.packets {
            let flags = [u8::from(packet.kind == Kind::Audio), u8::from(packet.key)];
            file.write_all(&flags)?;
            file.write_all(&packet.pts.to_le_bytes())?;
            file.write_all(&packet.duration.to_le_bytes())?;
            write_bytes(&mut file, &packet.payload)?;
        }
        Ok(file.flush()?)
    }
}

/// A saved stream, read packet by packet: all of it in memory would be most of what a process holds.
pub struct Saved {
    pub video_caps: String,
    pub audio_caps: String,
    file: BufReader<File>,
    /// Where the packets begin.
    packets_at: u64,
}

impl Saved {
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let video_caps = String::from_utf8(read_bytes(&mut file)?)?;
        let audio_caps = String::from_utf8(read_bytes(&mut file)?)?;
        let packets_at = file.stream_position()?;
        Ok(Self {
            video_caps,
            audio_caps,
            file,
            packets_at,
        })
    }

    /// The next packet; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Packet>> {
        let file = &mut self.file;
        let mut flags = [0; 2];
        if file.read_exact(&mut flags).is_err() {
            return Ok(None);
        }
        Ok(Some(Packet {
            kind: if flags[0] == 0 {
                Kind::Video
            } else {
                Kind::Audio
            },
            key: flags[1] != 0,
            pts: read_u64(file)?,
            duration: read_u64(file)?,
            payload: read_bytes(file)?,
        }))
    }

    /// Begins again at its first packet.
    pub fn rewind(&mut self) -> Result<()> {
        self.file.seek(SeekFrom::Start(self.packets_at))?;
        Ok(())
    }
}

fn write_bytes(file: &mut impl Write, bytes: &[u8]) -> Result<()> {
    file.write_all(&(bytes.len() as u64).to_le_bytes())?;
    Ok(file.write_all(bytes)?)
}

fn read_u64(file: &mut impl Read) -> Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn read_bytes(file: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(read_u64(file)?)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Runs an encoder to its end.
fn collect(kind: Kind, description: &str) -> Result<(String, Vec<Packet>)> {
    let description = format!("{description} ! appsink name=out sync=false");
    let pipeline = gst::parse::launch(&description)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
    let sink = pipeline
        .by_name("out")
        .and_downcast::<gst_app::AppSink>()
        .ok_or("no appsink")?;
    pipeline.set_state(gst::State::Playing)?;
    let mut caps = String::new();
    let mut packets = Vec::new();
    // x264enc and opusenc shift their timestamps; the stream starts at 0.
    let mut first = None;
    while let Ok(sample) = sink.pull_sample() {
        if let Some(of) = sample.caps() {
            caps = of.to_string();
        }
        let buffer = sample.buffer().ok_or("a sample without a buffer")?;
        let pts = buffer.pts().ok_or("a frame without a timestamp")?;
        let first = *first.get_or_insert(pts);
        packets.push(Packet {
            kind,
            key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            pts: pts.saturating_sub(first).nseconds(),
            duration: buffer.duration().map_or(0, gst::ClockTime::nseconds),
            payload: buffer.map_readable()?.to_vec(),
        });
    }
    let failed = pipeline
        .bus()
        .and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    pipeline.set_state(gst::State::Null)?;
    match failed {
        Some(message) => Err(format!("the stream cannot be encoded: {message:?}").into()),
        None => Ok((caps, packets)),
    }
}
