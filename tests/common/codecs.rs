//! What the tests against programs of others publish: small, live, and no two pictures and packets of sound alike.

/// Of a raw I420 picture.
pub const PICTURE: usize = 320 * 180 * 3 / 2;

/// Of 20 ms of S16LE, stereo, 48 kHz.
pub const SOUND: usize = 960 * 2 * 2;

pub const CONTAINERS: [&str; 3] = ["legacy", "loc", "cmaf"];

/// How a codec is made, in a form that moqsink of moq-gst takes too, and what decodes it.
pub struct Codec {
    pub name: &'static str,
    pub encoder: &'static str,
    pub decoder: &'static str,
}

pub const H264: Codec = Codec {
    name: "H.264",
    encoder: "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h264parse ! \
              video/x-h264,stream-format=byte-stream,alignment=au",
    decoder: "avdec_h264",
};
pub const H265: Codec = Codec {
    name: "H.265",
    encoder: "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h265parse ! \
              video/x-h265,stream-format=byte-stream,alignment=au",
    decoder: "avdec_h265",
};
pub const VP8: Codec = Codec {
    name: "VP8",
    encoder: "vp8enc deadline=1 keyframe-max-dist=30",
    decoder: "vp8dec",
};
pub const VP9: Codec = Codec {
    name: "VP9",
    encoder: "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=30",
    decoder: "vp9dec",
};
pub const AV1: Codec = Codec {
    name: "AV1",
    encoder: "av1enc cpu-used=8 usage-profile=realtime keyframe-max-dist=30 ! av1parse ! \
              video/x-av1,stream-format=obu-stream,alignment=tu",
    decoder: "av1dec",
};
pub const OPUS: Codec = Codec {
    name: "Opus",
    encoder: "opusenc",
    decoder: "opusdec",
};
pub const AAC: Codec = Codec {
    name: "AAC",
    encoder: "voaacenc ! aacparse ! audio/mpeg,stream-format=raw",
    decoder: "avdec_aac",
};
pub const MP3: Codec = Codec {
    name: "MP3",
    encoder: "lamemp3enc ! mpegaudioparse",
    decoder: "mpg123audiodec",
};
pub const FLAC: Codec = Codec {
    name: "FLAC",
    encoder: "flacenc ! flacparse",
    decoder: "flacdec",
};

/// Encodes once and publishes broadcasts `<container>.hang`, with moqsink of whichever plugin runs it: `sink_0` is video, `sink_1` audio.
pub fn publish(to: &str, video: &Codec, audio: &Codec, containers: &[&str]) -> String {
    let sinks = containers.iter().map(|container| {
        format!(
            "moqsink name={container} {to} broadcast={container}.hang \
             sink_0::container={container} sink_1::container={container} \
             pictures. ! queue ! {container}.sink_0 sound. ! queue ! {container}.sink_1 "
        )
    });
    coded(video, audio) + &sinks.collect::<String>()
}

/// Tees `pictures` and `sound` of coded media.
pub fn coded(video: &Codec, audio: &Codec) -> String {
    format!(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=180,framerate=30/1 ! {} ! tee name=pictures \
         audiotestsrc is-live=true wave=white-noise ! audio/x-raw,rate=48000,channels=2 ! {} ! tee name=sound ",
        video.encoder, audio.encoder
    )
}

/// What plays a broadcast with moqsrc of ours, by hang's catalog, into the fakesinks `<name>-video` and `<name>-audio`; without an audio codec, the video alone.
pub fn play(name: &str, to: &str, video: &Codec, audio: Option<&Codec>) -> String {
    let mut description = format!(
        "moqsrc name={name} {to} catalog=hang {name}.video_0 ! queue ! {} ! fakesink name={name}-video sync=false async=false ",
        video.decoder
    );
    if let Some(audio) = audio {
        description += &format!(
            "{name}.audio_0 ! queue ! {} ! fakesink name={name}-audio sync=false async=false ",
            audio.decoder
        );
    }
    description
}

/// Waits until enough was decoded at the sinks of [`play`]; gives how many pictures differ.
pub fn assert_played(name: &str, video: &super::Record, audio: Option<&super::Record>) -> usize {
    let pictures = distinct(&video.wait_count(60));
    assert!(pictures >= 50, "{name}: {pictures} of 60 pictures differ");
    if let Some(audio) = audio {
        let sound = distinct(&audio.wait_count(30));
        assert!(sound >= 28, "{name}: {sound} of 30 packets of noise differ");
    }
    pictures
}

fn distinct(seen: &[super::Seen]) -> usize {
    let hashes: std::collections::HashSet<u64> = seen.iter().map(|seen| seen.hash).collect();
    hashes.len()
}
