//! What each fuzz target does with its bytes. The ordinary tests do the same with the corpora (`tests/fuzz_corpus.rs`).
//!
//! Nothing may panic, and what can be read and written again must stay what it was.

use bytes::Bytes;
use gstmoq::media::{
    aac, av1,
    catalog::{Container, deflate, hang, msf},
    codec::Codec,
    container::{Decoder, cmaf, legacy, loc},
    flac, h264, h265, mp3, nal, opus, vp8, vp9,
};

pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("aac", aac),
    ("av1", av1),
    ("cmaf_fragment", cmaf_fragment),
    ("cmaf_init", cmaf_init),
    ("codec", codec),
    ("deflate", deflate),
    ("flac", flac),
    ("h264", h264),
    ("h265", h265),
    ("hang", hang),
    ("hang_patches", hang_patches),
    ("legacy", legacy),
    ("loc", loc),
    ("mp3", mp3),
    ("msf", msf),
    ("msf_deltas", msf_deltas),
    ("opus", opus),
    ("vpx", vpx),
];

pub fn legacy(data: &[u8]) {
    if let Ok(frame) = legacy::decode(Bytes::copy_from_slice(data)) {
        let again = legacy::encode(frame.pts_us, &[&frame.payload]).expect("it was read");
        assert_eq!(legacy::decode(again), Ok(frame));
    }
}

pub fn loc(data: &[u8]) {
    if let Ok(frame) = loc::decode(Bytes::copy_from_slice(data)) {
        let again = loc::encode(frame.pts_us, &[&frame.payload]).expect("it was read");
        assert_eq!(loc::decode(again), Ok(frame));
    }
}

/// The bytes are an init segment.
pub fn cmaf_init(data: &[u8]) {
    let Ok(init) = cmaf::Init::parse(&Bytes::copy_from_slice(data)) else {
        return;
    };
    if let Ok(written) = cmaf::init_segment(&init.rendition) {
        let again = cmaf::Init::parse(&written).expect("it was written");
        assert_eq!(again.rendition.codec(), init.rendition.codec());
    }
}

/// The bytes are an object of a track of H.264.
pub fn cmaf_fragment(data: &[u8]) {
    let init = Bytes::from_static(include_bytes!("../corpus/cmaf_init/mp4mux-h264"));
    let decoder = Decoder::new(&Container::Cmaf { init }).expect("an init segment");
    if let Ok(frames) = decoder.decode(Bytes::copy_from_slice(data)) {
        for frame in frames {
            assert!(frame.payload.len() <= data.len());
        }
    }
}

pub fn hang(data: &[u8]) {
    if let Ok((catalog, _)) = hang::parse(data) {
        let again = hang::parse(&hang::write(&catalog)).expect("it was written");
        assert_eq!(again.0, catalog);
        let _ = msf::parse(&msf::write(&catalog)).expect("it was written");
    }
}

/// Each line is a frame of one group.
pub fn hang_patches(data: &[u8]) {
    let mut snapshot = hang::Snapshot::default();
    for (index, frame) in data.split(|byte| *byte == b'\n').enumerate() {
        let _ = snapshot.apply(index as u64, frame);
    }
}

pub fn msf(data: &[u8]) {
    if let Ok((catalog, _)) = msf::parse(data) {
        let again = msf::parse(&msf::write(&catalog)).expect("it was written");
        assert_eq!(again, (catalog, Vec::new()));
    }
}

/// Each line is a frame of one group.
pub fn msf_deltas(data: &[u8]) {
    let mut snapshot = msf::Snapshot::default();
    for (index, frame) in data.split(|byte| *byte == b'\n').enumerate() {
        let _ = snapshot.apply(index as u64, frame);
    }
}

/// The first byte is the length of the first of two frames.
pub fn deflate(data: &[u8]) {
    let Some((len, frames)) = data.split_first() else {
        return;
    };
    let (first, second) = frames.split_at(frames.len().min(usize::from(*len)));
    let (mut decoder, mut encoder) = (deflate::Decoder::default(), deflate::Encoder::default());
    let mut copy = deflate::Decoder::default();
    for frame in [first, second] {
        let Ok(expanded) = decoder.decode(frame) else {
            return;
        };
        assert_eq!(copy.decode(&encoder.encode(&expanded)), Ok(expanded));
    }
}

/// The bytes are the codec string of a catalog.
pub fn codec(data: &[u8]) {
    let codec = Codec::parse(&String::from_utf8_lossy(data));
    assert_eq!(Codec::parse(&codec.to_string()), codec);
}

pub fn h264(data: &[u8]) {
    let formats = [
        nal::NalFormat::ByteStream,
        nal::NalFormat::Length { size: 4 },
    ];
    for format in formats {
        let _ = h264::key_kind(data, format);
        if let Ok(Some(config)) = h264::Config::from_access_unit(data, format) {
            h264::AvcC::parse(&config.to_avcc()).expect("it was written");
        }
    }
    let _ = h264::length_prefixed(data).parts().total();
    let _ = h264::Config::from_avcc(data);
}

pub fn h265(data: &[u8]) {
    let formats = [
        nal::NalFormat::ByteStream,
        nal::NalFormat::Length { size: 4 },
    ];
    for format in formats {
        let _ = h265::picture(data, format);
        if let Ok(Some(config)) = h265::Config::from_access_unit(data, format) {
            h265::HvcC::parse(&config.to_hvcc()).expect("it was written");
        }
    }
    let _ = h265::length_prefixed(data).parts().total();
    if let Ok(config) = h265::Config::from_hvcc(data) {
        let _ = (config.framerate(), config.display_aspect());
    }
}

pub fn av1(data: &[u8]) {
    let _ = av1::TemporalUnit::parse(data);
    assert!(av1::delimiter_len(data) <= data.len());
    let _ = av1::Av1C::parse(data);
    if let Ok(Some(record)) = av1::Av1C::from_temporal_unit(data) {
        let written = av1::Av1C::parse(&record).expect("it was written");
        assert_eq!(Ok(written.sequence_header), av1::sequence_header(data));
    }
}

pub fn vpx(data: &[u8]) {
    let _ = vp8::KeyFrame::parse(data);
    if let Some(key) = vp9::key_frame(data) {
        let _ = key.codec(30.0, None);
    }
    let total: usize = vp9::frames(data).iter().map(|frame| frame.len()).sum();
    assert!(total <= data.len());
}

pub fn opus(data: &[u8]) {
    let _ = opus::packet_duration_ns(data);
    if let Ok(head) = opus::Head::parse(data) {
        let written = head.write().expect("it was read");
        assert_eq!(opus::Head::parse(&written), Ok(head));
    }
}

pub fn aac(data: &[u8]) {
    if let Ok(adts) = aac::Adts::parse(data) {
        let _ = adts.payload(data);
    }
    if let Ok(config) = aac::Config::parse(data) {
        assert!(config.packet_duration_ns() > 0);
        if let Some(asc) = config.to_asc() {
            aac::Config::parse(&asc).expect("it was written");
        }
    }
}

pub fn mp3(data: &[u8]) {
    if let Some(header) = mp3::Header::parse(data) {
        assert!(header.duration_ns() > 0);
    }
}

pub fn flac(data: &[u8]) {
    let _ = flac::FrameHeader::parse(data);
    if let Ok(info) = flac::StreamInfo::from_description(data) {
        assert_eq!(
            flac::StreamInfo::from_description(&info.description()),
            Ok(info)
        );
    }
}
