//! Sound as MPEG-TS can lose it.
//!
//! tsdemux of GStreamer 1.22 ends the pipeline at the first packet of Opus that is not whole ("Failed to parse Opus access unit"), which on
//! a lossy path is soon. So packets travel in frames of ADTS (ISO/IEC 14496-3 section 1.A.2), as AAC would: what is not whole is not recognised.

use gst::prelude::*;

use super::Result;

const HEADER: usize = 7;

/// What leaves this pad is wrapped from now on.
pub fn wrap(pad: &gst::Pad) -> Result<()> {
    let caps: gst::Caps =
        "audio/mpeg,mpegversion=4,stream-format=adts,framed=true,rate=48000,channels=2".parse()?;
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(event) = info.event_mut()
            && event.type_() == gst::EventType::Caps
        {
            *event = gst::event::Caps::new(&caps);
        }
        gst::PadProbeReturn::Ok
    });
    change(pad, |packet| {
        let mut frame = header(packet.len() + HEADER).to_vec();
        frame.extend_from_slice(packet);
        frame
    });
    Ok(())
}

/// What leaves this pad was wrapped.
pub fn unwrap(pad: &gst::Pad) {
    change(pad, |frame| {
        frame.get(HEADER..).unwrap_or_default().to_vec()
    });
}

fn change(pad: &gst::Pad, to: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut()
            && let Some(payload) = buffer.map_readable().ok().map(|map| to(&map))
        {
            let mut changed = gst::Buffer::from_mut_slice(payload);
            let writable = changed.get_mut().expect("a new buffer has one owner");
            writable.set_flags(buffer.flags());
            writable.set_pts(buffer.pts());
            writable.set_dts(buffer.dts());
            writable.set_duration(buffer.duration());
            *buffer = changed;
        }
        gst::PadProbeReturn::Ok
    });
}

/// MPEG-4, AAC LC, 48 kHz, two channels, no CRC.
fn header(length: usize) -> [u8; HEADER] {
    let length = length & 0x1fff;
    [
        0xff,
        0xf1,
        0x4c,
        0x80 | (length >> 11) as u8,
        (length >> 3) as u8,
        (length << 5) as u8 | 0x1f,
        0xfc,
    ]
}
