//! What is sent over a simulated connection.

use std::{collections::HashMap, time::Duration};

use quinn_proto::{Connection, Dir, Event, StreamEvent, StreamId, VarInt};

/// Live video with sound: each group of pictures and each second of sound is a stream, the newest video first, sound
/// before it; video that the next group but one overtakes is reset.
#[derive(Debug, Clone, Copy)]
pub struct Media {
    /// Video, bit/s.
    pub bitrate: u64,
    pub frames_per_second: u32,
    pub group_length: u32,
    /// Size of a key frame in others.
    pub key_ratio: u32,
}

impl Default for Media {
    /// 4 Mbit/s, 60 frames a second, a key frame of 54 kB each second.
    fn default() -> Self {
        Self {
            bitrate: 4_000_000,
            frames_per_second: 60,
            group_length: 60,
            key_ratio: 8,
        }
    }
}

const AUDIO_PACKET: usize = 240;
const AUDIO_PERIOD: Duration = Duration::from_millis(20);

impl Media {
    fn size(&self, frame: u32) -> usize {
        let group =
            self.bitrate * u64::from(self.group_length) / u64::from(self.frames_per_second) / 8;
        let part = group / u64::from(self.group_length - 1 + self.key_ratio);
        let parts = if frame.is_multiple_of(self.group_length) {
            u64::from(self.key_ratio)
        } else {
            1
        };
        usize::try_from(part * parts).unwrap_or(usize::MAX)
    }
}

/// One frame: when it was made, and when all of it had arrived.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub made: Duration,
    pub arrived: Option<Duration>,
    pub audio: bool,
}

/// A stream that is written.
struct Outgoing {
    stream: StreamId,
    audio: bool,
    group: u32,
    /// Accepted by QUIC.
    written: usize,
    /// Made so far.
    size: usize,
    ended: bool,
    finished: bool,
}

pub enum App {
    Media(Box<MediaApp>),
    /// As much as goes.
    Bulk {
        stream: Option<StreamId>,
    },
}

pub struct MediaApp {
    media: Media,
    video: u32,
    audio: u32,
    streams: Vec<Outgoing>,
    /// Per stream: the end of each frame and its place in `frames`.
    ends: HashMap<StreamId, Vec<(usize, usize)>>,
    arrived: HashMap<StreamId, usize>,
    pub frames: Vec<Frame>,
    until: Duration,
}

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

impl MediaApp {
    pub fn new(media: Media, until: Duration) -> Self {
        Self {
            media,
            video: 0,
            audio: 0,
            streams: Vec::new(),
            ends: HashMap::new(),
            arrived: HashMap::new(),
            frames: Vec::new(),
            until,
        }
    }

    fn next_video(&self) -> Duration {
        Duration::from_secs(1) * self.video / self.media.frames_per_second
    }

    fn next_audio(&self) -> Duration {
        AUDIO_PERIOD * self.audio
    }

    fn make(&mut self, now: Duration, connection: &mut Connection) {
        while self.next_video() <= now && self.next_video() < self.until {
            let frame = self.video;
            let group = frame / self.media.group_length;
            if frame.is_multiple_of(self.media.group_length) {
                self.reset_before(group.saturating_sub(1), connection);
                let priority = i32::try_from(group).unwrap_or(i32::MAX);
                self.open(false, group, priority, connection);
            }
            self.push(now, false, self.media.size(frame));
            self.video += 1;
        }
        while self.next_audio() <= now && self.next_audio() < self.until {
            if self.audio.is_multiple_of(50) {
                self.open(true, self.audio / 50, i32::MAX, connection);
            }
            self.push(now, true, AUDIO_PACKET);
            self.audio += 1;
        }
    }

    fn open(&mut self, audio: bool, group: u32, priority: i32, connection: &mut Connection) {
        for old in self.streams.iter_mut().filter(|s| s.audio == audio) {
            old.ended = true;
        }
        let Some(stream) = connection.streams().open(Dir::Uni) else {
            return;
        };
        let _ = connection.send_stream(stream).set_priority(priority);
        self.streams.push(Outgoing {
            stream,
            audio,
            group,
            written: 0,
            size: 0,
            ended: false,
            finished: false,
        });
    }

    fn push(&mut self, now: Duration, audio: bool, size: usize) {
        let Some(stream) = self.streams.iter_mut().rev().find(|s| s.audio == audio) else {
            return;
        };
        stream.size += size;
        let ends = self.ends.entry(stream.stream).or_default();
        ends.push((stream.size, self.frames.len()));
        self.frames.push(Frame {
            made: now,
            arrived: None,
            audio,
        });
    }

    fn reset_before(&mut self, group: u32, connection: &mut Connection) {
        self.streams.retain(|s| {
            let late = !s.audio && s.group < group;
            if late {
                let _ = connection.send_stream(s.stream).reset(VarInt::from_u32(1));
            }
            !late
        });
    }

    fn write(&mut self, connection: &mut Connection) {
        for s in &mut self.streams {
            let mut stream = connection.send_stream(s.stream);
            while s.written < s.size {
                let part = (s.size - s.written).min(ZEROS.len());
                match stream.write(&ZEROS[..part]) {
                    Ok(written) => s.written += written,
                    Err(_) => break,
                }
            }
            if s.ended && !s.finished && s.written == s.size {
                s.finished = stream.finish().is_ok();
            }
        }
        // What was delivered to its end needs no reset.
        self.streams
            .retain(|s| connection.send_stream(s.stream).priority().is_ok());
    }

    fn arrived(&mut self, now: Duration, stream: StreamId, bytes: usize) {
        let total = self.arrived.entry(stream).or_default();
        *total += bytes;
        for (end, frame) in self.ends.get(&stream).into_iter().flatten() {
            let frame = &mut self.frames[*frame];
            if *end <= *total && frame.arrived.is_none() {
                frame.arrived = Some(now);
            }
        }
    }
}

impl App {
    /// Writes what there is to write.
    pub fn send(&mut self, now: Duration, connection: &mut Connection) {
        if connection.is_handshaking() {
            return;
        }
        match self {
            Self::Media(media) => {
                media.make(now, connection);
                media.write(connection);
            }
            Self::Bulk { stream } => {
                let Some(stream) = stream.or_else(|| connection.streams().open(Dir::Uni)) else {
                    return;
                };
                *self = Self::Bulk {
                    stream: Some(stream),
                };
                let mut stream = connection.send_stream(stream);
                // Enough for any window here, and not all that QUIC would keep.
                while connection_backlog(&mut stream) {}
            }
        }
    }

    /// When there is more to send.
    pub fn wakeup(&self) -> Option<Duration> {
        match self {
            Self::Media(media) => {
                let next = media.next_video().min(media.next_audio());
                (next < media.until).then_some(next)
            }
            Self::Bulk { .. } => None,
        }
    }

    /// Reads what arrived; the bytes.
    pub fn receive(
        &mut self,
        now: Duration,
        event: Option<Event>,
        connection: &mut Connection,
    ) -> usize {
        let mut readable = Vec::new();
        match event {
            Some(Event::Stream(StreamEvent::Opened { dir: Dir::Uni })) => {
                while let Some(stream) = connection.streams().accept(Dir::Uni) {
                    readable.push(stream);
                }
            }
            Some(Event::Stream(StreamEvent::Readable { id })) => readable.push(id),
            _ => {}
        }
        let mut all = 0;
        for stream in readable {
            let bytes = read(connection, stream);
            all += bytes;
            if let Self::Media(media) = self {
                media.arrived(now, stream, bytes);
            }
        }
        all
    }
}

fn connection_backlog(stream: &mut quinn_proto::SendStream<'_>) -> bool {
    stream.write(&ZEROS).is_ok()
}

fn read(connection: &mut Connection, stream: StreamId) -> usize {
    let mut bytes = 0;
    let mut stream = connection.recv_stream(stream);
    if let Ok(mut chunks) = stream.read(true) {
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            bytes += chunk.bytes.len();
        }
        let _ = chunks.finalize();
    }
    bytes
}
