//! The one publisher: sends the stock stream's objects at their pace, each with its number and the time of its sending in front.

use std::time::{Duration, Instant};

use bytes::Bytes;
use moq_net::{Timescale, Timestamp, group, origin::Route as Announced, track};

use super::dial::Peer;
use crate::rig::{
    Result,
    stream::{Kind, Packet, Stream},
};

/// The name of the broadcast.
pub const BROADCAST: &str = "fanout";

/// moqsink's default `group-duration`, ns.
const AUDIO_GROUP: u64 = 500_000_000;

/// How far behind a group may fall before it is given up: nothing is, so that what is late is counted as late.
pub const MAX_AGE: Duration = Duration::from_secs(5);

/// The track of each kind; what is of use first goes first.
pub const TRACKS: [(Kind, &str, u8); 2] = [(Kind::Audio, "audio", 2), (Kind::Video, "video", 1)];

/// What stands in front of each object's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its place in the stream.
    pub number: u64,
    /// ns since the run's origin.
    pub sent: u64,
}

impl Mark {
    const LENGTH: usize = 16;

    /// The payload with its first bytes replaced; one that is too short for it grows.
    fn stamp(self, payload: &[u8]) -> Bytes {
        let mut marked = payload.to_vec();
        marked.resize(marked.len().max(Self::LENGTH), 0);
        marked[..8].copy_from_slice(&self.number.to_le_bytes());
        marked[8..Self::LENGTH].copy_from_slice(&self.sent.to_le_bytes());
        marked.into()
    }

    pub fn read(payload: &[u8]) -> Option<Self> {
        let (number, rest) = payload.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Self {
            number: u64::from_le_bytes(*number),
            sent: u64::from_le_bytes(*sent),
        })
    }
}

/// A track and its open group.
struct Writer {
    track: track::Producer,
    group: Option<group::Producer>,
    /// Media time of the group's start, ns.
    began: u64,
}

impl Writer {
    fn write(&mut self, packet: &Packet, object: Bytes) -> Result<()> {
        let is_due = match packet.kind {
            Kind::Video => packet.key,
            Kind::Audio => packet.pts >= self.began + AUDIO_GROUP,
        };
        if self.group.is_none() || is_due {
            if let Some(group) = self.group.take() {
                group.finish()?;
            }
            self.group = Some(self.track.append_group()?);
            self.began = packet.pts;
        }
        let group = self.group.as_mut().ok_or("a group was opened")?;
        Ok(group.write_frame(Timestamp::from_micros(packet.pts / 1000)?, object)?)
    }
}

/// Announced, and ready to send.
pub struct Publisher {
    /// Held for as long as it is to be announced.
    _broadcast: moq_net::broadcast::Producer,
    audio: Writer,
    video: Writer,
}

impl Publisher {
    pub fn announce(peer: &Peer) -> Result<Self> {
        let broadcast = peer.origin.create_broadcast(BROADCAST)?;
        let [audio, video] = TRACKS.map(|(_, name, priority)| {
            let info = track::Info::default()
                .with_timescale(Timescale::MICRO)
                .with_max_age(MAX_AGE)
                .with_priority(priority);
            broadcast.create_track(name, info).map(|track| Writer {
                track,
                group: None,
                began: 0,
            })
        });
        let (audio, video) = (audio?, video?);
        broadcast.announce(Announced::default())?;
        Ok(Self {
            _broadcast: broadcast,
            audio,
            video,
        })
    }

    /// Sends the stream from now on, on the thread that calls; returns when each object was sent, ns since `origin`.
    pub fn send(&mut self, stream: &Stream, origin: Instant) -> Result<Vec<u64>> {
        let start = Instant::now();
        let mut times = Vec::with_capacity(stream.packets.len());
        for (number, packet) in stream.packets.iter().enumerate() {
            let due = start + Duration::from_nanos(packet.pts);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent = origin.elapsed().as_nanos() as u64;
            let mark = Mark {
                number: number as u64,
                sent,
            };
            let writer = match packet.kind {
                Kind::Audio => &mut self.audio,
                Kind::Video => &mut self.video,
            };
            writer.write(packet, mark.stamp(&packet.payload))?;
            times.push(sent);
        }
        Ok(times)
    }
}
