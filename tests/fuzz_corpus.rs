//! Replays the corpora of the fuzz targets, as they are and damaged: what fuzzing found once is not to come back, and fuzzing
//! itself needs a nightly compiler (`fuzz/Cargo.toml`).

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|err| panic!("{}: {err}", folder.display()));
    let files = entries.map(|entry| entry.expect("an entry").path());
    files
        .map(|path| {
            let bytes = std::fs::read(&path).expect("a file");
            (path.display().to_string(), bytes)
        })
        .collect()
}

#[test]
fn every_corpus_is_survived_whole_and_cut_short() {
    for (name, target) in targets::TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for (path, bytes) in corpus {
            println!("{path}");
            target(&bytes);
            // Every end of a header, and some of what is behind it.
            for len in (0..bytes.len()).filter(|len| *len < 512 || len % 97 == 0) {
                target(&bytes[..len]);
            }
        }
    }
}

/// What a fuzzer would do first, a little of it, and always the same.
#[test]
fn every_corpus_is_survived_with_bytes_changed() {
    const ROUNDS: usize = 200;
    let mut random = fastrand::Rng::with_seed(0x6d6f71);
    for (name, target) in targets::TARGETS {
        for (path, bytes) in corpus(name) {
            println!("{path}");
            for _ in 0..ROUNDS {
                target(&mutated(&bytes, &mut random));
            }
        }
    }
}

/// A few bytes replaced by others or by extremes, a piece repeated or taken out.
fn mutated(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..6) {
        let len = bytes.len();
        if len == 0 {
            break;
        }
        // Headers are at the start.
        let reach = if random.bool() { len.min(64) } else { len };
        let at = random.usize(0..reach);
        match random.u8(0..5) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] = random.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap_or_default(),
            2 => bytes[at] ^= 1 << random.u8(0..8),
            3 => drop(bytes.drain(at..(at + random.usize(1..9)).min(len))),
            _ => {
                let piece = bytes[at..(at + random.usize(1..17)).min(len)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// A corpus that nothing reads would tell nothing.
#[test]
fn what_other_muxers_write_is_read() {
    use gstmoq::media::{
        catalog::{Container, Rendition},
        container::{Decoder, cmaf},
    };

    let inits: std::collections::BTreeMap<_, _> = corpus("cmaf_init").into_iter().collect();
    let init = |codec: &str| {
        let found = inits
            .iter()
            .find(|(path, _)| path.ends_with(&format!("mp4mux-{codec}")));
        bytes::Bytes::from(found.expect("a file").1.clone())
    };
    for (name, codec, description) in [
        ("h264", "avc1.", true),
        ("h265", "hvc1.", true),
        // Its sequence header is in band alone.
        ("av1", "av01.", false),
        ("vp9", "vp09.", false),
        ("aac", "mp4a.40.2", true),
        ("opus", "opus", true),
    ] {
        let init = cmaf::Init::parse(&init(name)).expect("an init segment");
        assert!(
            init.rendition.codec().starts_with(codec),
            "{}",
            init.rendition.codec()
        );
        assert_eq!(
            init.rendition.description().is_some(),
            description,
            "{name}"
        );
        match &init.rendition {
            Rendition::Video(video) => {
                assert_eq!(
                    (video.coded_width, video.coded_height),
                    (Some(80), Some(48))
                );
            }
            Rendition::Audio(audio) => assert_eq!(audio.channels, 2),
        }
    }
    let decoder = Decoder::new(&Container::Cmaf { init: init("h264") }).expect("an init segment");
    let whole = corpus("cmaf_fragment")
        .into_iter()
        .find(|(path, _)| path.ends_with("mp4mux-with-styp-and-a-second"));
    let frames: Vec<_> = decoder
        .decode(whole.expect("a file").1.into())
        .expect("fragments")
        .collect();
    assert_eq!(frames.len(), 12);
    let keys: Vec<_> = frames
        .iter()
        .map(|frame| frame.key.expect("flags"))
        .collect();
    assert_eq!(keys.iter().filter(|key| **key).count(), 2);
    assert!(frames.iter().all(|frame| frame.duration_us.is_some()));
    // Reordered: not all in the order of presentation.
    assert!(
        frames
            .windows(2)
            .any(|pair| pair[1].pts_us < pair[0].pts_us)
    );
}
