//! The elements of moq-gst, in processes of their own. `scripts/test` builds its plugin and names it in MOQ_GST_PLUGIN.

use std::{path::PathBuf, process::Command};

use super::{
    codecs::{Codec, PICTURE, SOUND},
    interop,
    launch::{Launch, Pieces},
};

pub fn plugin() -> PathBuf {
    let path = std::env::var_os("MOQ_GST_PLUGIN").expect(
        "MOQ_GST_PLUGIN names no plugin of moq-gst: run scripts/test, which builds it, or scripts/test --quick to do without",
    );
    path.into()
}

/// Its name, and the version that the plugin says it has.
pub fn peer() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut inspect = Command::new("gst-inspect-1.0");
    inspect
        .arg(plugin())
        .env("GST_REGISTRY", folder.path().join("registry.bin"))
        .env("GST_PLUGIN_SYSTEM_PATH", folder.path())
        .env_remove("GST_PLUGIN_PATH");
    format!("moq-gst {}", interop::version(&mut inspect, "Version "))
}

/// The caps of its moqsrc have stream formats that GStreamer does not know, and numbers of a type that no decoder takes
/// (peer-lessons row 4): the test mends them.
fn mended(audio: &Codec) -> &'static str {
    match audio.name {
        "Opus" => "audio/x-opus,rate=48000,channels=2,channel-mapping-family=0",
        "AAC" => {
            "audio/mpeg,mpegversion=4,stream-format=raw,rate=48000,channels=2,codec_data=(buffer)1190"
        }
        "MP3" => "audio/mpeg,mpegversion=1,layer=3,parsed=true,rate=48000,channels=2",
        name => panic!("it has no caps for {name}"),
    }
}

/// Its moqsrc with decoders of pictures and sound.
pub struct Player {
    _process: Launch,
    _folder: tempfile::TempDir,
    pictures: Pieces,
    sound: Pieces,
}

impl Player {
    /// `to` is properties of moqsrc.
    pub fn start(to: &str, audio: &Codec) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("sound");
        let sound = Pieces::of_pipe(&pipe, SOUND);
        let mut process = Launch::start(
            &plugin(),
            &format!(
                "moqsrc name=s {to} \
                 s.video_0 ! queue ! decodebin3 ! videoconvert ! video/x-raw,format=I420 ! fdsink fd=1 sync=false async=false \
                 s.audio_0 ! queue ! capssetter replace=true caps={} ! {} ! audioconvert ! \
                 audio/x-raw,format=S16LE,channels=2,rate=48000 ! \
                 filesink location={} buffer-mode=unbuffered sync=false async=false",
                mended(audio),
                audio.decoder,
                pipe.display()
            ),
        );
        let pictures = process.pieces(PICTURE);
        Self {
            _process: process,
            _folder: folder,
            pictures,
            sound,
        }
    }

    /// Waits until enough pictures and pieces of sound differ; gives the number of pictures.
    pub fn wait_played(&self, name: &str) -> usize {
        let (_, pictures) = self
            .pictures
            .wait_distinct(&format!("pictures of {name}"), 45);
        self.sound
            .wait_distinct(&format!("20 ms of sound of {name}"), 45);
        pictures
    }
}
