//! A track that its publisher ends and begins again while another one goes on, seen from decoders and sinks behind moqsrc.

mod common;

use std::time::Duration;

use common::{Pipeline, Record, Seen, init, publisher::BROADCAST};
use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};

fn relay() -> Relay {
    init();
    Relay::start(RelayConfig::local()).expect("a relay")
}

/// Publishes a picture that can be ended, and sound that goes on.
struct Publisher {
    pipeline: Pipeline,
    /// What the encoder's pictures go through.
    queue: gst::Pad,
    encoded: gst::Pad,
}

impl Publisher {
    fn start(relay: &Relay) -> Self {
        let pipeline = Pipeline::launch(&format!(
            "moqsink name=sink video_0::track=picture url={url} broadcast={BROADCAST} \
             videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1,format=I420 ! \
             x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse ! \
             tee name=tee allow-not-linked=true ! queue name=queue ! sink.video_0 \
             audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc ! queue ! sink.audio_0",
            url = relay.url()
        ));
        let queue = pipeline.by_name("queue").static_pad("sink");
        let queue = queue.expect("a pad");
        let encoded = queue.peer().expect("linked");
        pipeline.set(gst::State::Playing);
        Self {
            pipeline,
            queue,
            encoded,
        }
    }

    fn end_picture(&self) {
        self.encoded.unlink(&self.queue).expect("linked");
        assert!(self.queue.send_event(gst::event::Eos::new()));
    }

    /// Lets the same pad go on.
    fn begin_again(&self) {
        assert!(self.queue.send_event(gst::event::FlushStart::new()));
        assert!(self.queue.send_event(gst::event::FlushStop::new(false)));
        self.encoded.link(&self.queue).expect("linked");
    }

    /// Gives the pad back and asks for another one of the same track.
    fn begin_on_a_new_pad(&self) {
        let sink = self.pipeline.by_name("sink");
        let queue = self.pipeline.by_name("queue").static_pad("src");
        let queue = queue.expect("a pad");
        let pad = queue.peer().expect("linked");
        queue.unlink(&pad).expect("linked");
        sink.release_request_pad(&pad);
        let pad = sink.request_pad_simple("video_%u").expect("a pad");
        pad.set_property("track", "picture");
        queue.link(&pad).expect("linked");
        self.begin_again();
    }
}

/// Plays both tracks, decoded by `decode` into the sinks `video` and `audio`.
struct Player {
    pipeline: Pipeline,
    video: Record,
    audio: Record,
}

const SINKS: [&str; 2] = ["video", "audio"];

impl Player {
    fn decoders(relay: &Relay) -> Self {
        Self::new(Pipeline::launch(&format!(
            "moqsrc name=src url={url} broadcast={BROADCAST} \
             src.video_0 ! queue ! avdec_h264 ! videoconvert ! fakesink name=video sync=true \
             src.audio_0 ! queue ! opusdec ! audioconvert ! fakesink name=audio sync=true",
            url = relay.url()
        )))
    }

    fn decodebin3(relay: &Relay) -> Self {
        let pipeline = Pipeline::launch(&format!(
            "moqsrc name=src url={url} broadcast={BROADCAST} decodebin3 name=decode \
             videoconvert name=for-video ! fakesink name=video sync=true \
             audioconvert name=for-audio ! fakesink name=audio sync=true",
            url = relay.url()
        ));
        let decode = pipeline.by_name("decode");
        let into = decode.clone();
        pipeline.by_name("src").connect_pad_added(move |_, pad| {
            let sink = into.static_pad("sink").filter(|sink| !sink.is_linked());
            let sink = sink.or_else(|| into.request_pad_simple("sink_%u"));
            pad.link(&sink.expect("a pad")).expect("linked");
        });
        let sinks = SINKS.map(|name| {
            let sink = pipeline.by_name(&format!("for-{name}")).static_pad("sink");
            sink.expect("a pad")
        });
        decode.connect_pad_added(move |_, pad| {
            if pad.direction() == gst::PadDirection::Sink {
                return;
            }
            let audio = pad.name().starts_with("audio");
            pad.link(&sinks[usize::from(audio)]).expect("linked");
        });
        Self::new(pipeline)
    }

    fn new(pipeline: Pipeline) -> Self {
        let [video, audio] = SINKS.map(|name| pipeline.record(name));
        pipeline.set(gst::State::Playing);
        Self {
            pipeline,
            video,
            audio,
        }
    }

    fn wait_end_of_picture(&self) {
        let src = self.pipeline.by_name("src");
        let pad = src.static_pad("video_0").expect("a pad");
        let end = std::time::Instant::now() + common::LIMIT;
        while pad.sticky_event::<gst::event::Eos>(0).is_none() {
            assert!(std::time::Instant::now() < end, "no EOS on the pad");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The picture ends, begins again on the same pad and plays on in sync; the sound does not notice.
    fn assert_goes_on(&self, publisher: &Publisher, begin: impl FnOnce()) {
        self.video.wait_count(30);
        self.audio.wait_count(30);
        publisher.end_picture();
        self.wait_end_of_picture();
        let sound = self.audio.len();
        self.audio.wait_count(sound + 50);
        let seen = self.video.len();
        begin();
        self.video
            .wait("pictures after the end", |got| got.len() >= seen + 45);
        let got = self.video.all();
        let after = &got[seen..];
        let (last, first) = (got[seen - 1].running, after[0].running);
        assert!(first > last, "running time goes on: {last:?}, {first:?}");
        let late = |seen: &Seen| {
            let (at, running) = (seen.at?.nseconds() as i64, seen.running?.nseconds() as i64);
            Some((at - running) / 1_000_000)
        };
        // Sinks wait for running time plus latency.
        let late: Vec<_> = after[10..].iter().filter_map(late).collect();
        assert!(late.iter().all(|ms| (0..=260).contains(ms)), "{late:?}");
        let sound = self.audio.all();
        let broken = sound.iter().skip(1).filter(|seen| seen.is_discont());
        assert_eq!(broken.count(), 0, "the sound went on");
        assert_eq!(self.pipeline.by_name("src").num_src_pads(), 2);
    }
}

#[test]
fn a_flush_after_the_end_of_one_track_plays_again_at_a_decoder() {
    let relay = relay();
    let publisher = Publisher::start(&relay);
    let player = Player::decoders(&relay);
    player.assert_goes_on(&publisher, || publisher.begin_again());
    // And once more.
    player.assert_goes_on(&publisher, || publisher.begin_again());
}

#[test]
fn a_flush_after_the_end_of_one_track_plays_again_behind_decodebin3() {
    let relay = relay();
    let publisher = Publisher::start(&relay);
    let player = Player::decodebin3(&relay);
    player.assert_goes_on(&publisher, || publisher.begin_again());
}

#[test]
fn a_pad_that_is_requested_anew_for_the_same_track_plays_again() {
    let relay = relay();
    let publisher = Publisher::start(&relay);
    let player = Player::decoders(&relay);
    player.assert_goes_on(&publisher, || publisher.begin_on_a_new_pad());
}
