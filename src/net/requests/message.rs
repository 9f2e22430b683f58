//! What is said on the control track; docs/requests.md is its specification.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The version that is written and the only one that is understood.
const VERSION: u64 = 1;

/// Largest message, in bytes.
pub const MAX_BYTES: u64 = 32 << 10;

/// Tracks in one message, and the longest of their names in bytes. Escaped, they still fit a message.
pub const MAX_TRACKS: usize = 16;
pub const MAX_NAME: usize = 256;

/// What a player waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    version: u64,
    /// Larger with each message of one broadcast.
    pub seq: u64,
    /// Names of the tracks of which a key frame is waited for.
    pub key_frames: Vec<String>,
}

/// Why a message cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("not a request: {0}")]
    Json(#[from] serde_json::Error),
    #[error("version {0}, which is not understood")]
    Version(u64),
    #[error("more than {MAX_TRACKS} tracks, or a name of more than {MAX_NAME} bytes")]
    Tracks,
}

impl Request {
    /// Leaves out what a message has no room for.
    pub fn new(seq: u64, tracks: Vec<String>) -> Self {
        let fits = |track: &String| track.len() <= MAX_NAME;
        Self {
            version: VERSION,
            seq,
            key_frames: tracks.into_iter().filter(fits).take(MAX_TRACKS).collect(),
        }
    }

    /// The message.
    pub fn write(&self) -> Bytes {
        // A number and strings always have a form.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads what a stranger wrote. Fields that are not known are left alone.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn parse(message: &[u8]) -> Result<Self, RequestError> {
        if message.len() as u64 > MAX_BYTES {
            return Err(RequestError::TooLarge);
        }
        /// What tells a message of another version, whatever else is in it.
        #[derive(Deserialize)]
        struct Any {
            version: u64,
        }
        let Any { version } = serde_json::from_slice(message)?;
        if version != VERSION {
            return Err(RequestError::Version(version));
        }
        let request: Self = serde_json::from_slice(message)?;
        let too_long = |track: &String| track.len() > MAX_NAME;
        if request.key_frames.len() > MAX_TRACKS || request.key_frames.iter().any(too_long) {
            return Err(RequestError::Tracks);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_looks_as_it_is_specified() {
        let request = Request::new(7, vec!["0.avc3".to_owned(), "a \"b\"\u{1}".to_owned()]);
        let written = request.write();
        assert_eq!(
            &written[..],
            br#"{"version":1,"seq":7,"keyFrames":["0.avc3","a \"b\"\u0001"]}"#
        );
        assert_eq!(Request::parse(&written).unwrap(), request);
    }

    #[test]
    fn the_largest_request_fits() {
        let name = "\u{1}".repeat(MAX_NAME);
        let mut tracks = vec![name.clone(); MAX_TRACKS + 5];
        tracks.insert(0, "x".repeat(MAX_NAME + 1));
        let request = Request::new(u64::MAX, tracks);
        assert_eq!(request.key_frames, vec![name; MAX_TRACKS]);
        assert_eq!(Request::parse(&request.write()).unwrap(), request);
    }

    #[test]
    fn unknown_fields_are_left_alone() {
        let message = br#"{"seq":1,"bitrate":{"0.avc3":[1,2]},"keyFrames":[],"version":1}"#;
        assert_eq!(
            Request::parse(message).unwrap(),
            Request::new(1, Vec::new())
        );
    }

    #[test]
    fn what_is_no_request_is_an_error_and_nothing_else() {
        let many = format!(
            r#"{{"version":1,"seq":1,"keyFrames":[{}"v"]}}"#,
            "\"v\",".repeat(MAX_TRACKS)
        );
        let long = format!(
            r#"{{"version":1,"seq":1,"keyFrames":["{}"]}}"#,
            "v".repeat(MAX_NAME + 1)
        );
        let deep = format!(r#"{{"version":1,"x":{}"#, "[".repeat(10_000));
        let messages = [
            "",
            "null",
            "[]",
            "{}",
            "\u{0}",
            r#"{"version":1}"#,
            r#"{"version":1,"seq":1}"#,
            r#"{"version":1,"seq":-1,"keyFrames":[]}"#,
            r#"{"version":1,"seq":1.5,"keyFrames":[]}"#,
            r#"{"version":1,"seq":1,"keyFrames":"v"}"#,
            r#"{"version":1,"seq":1,"keyFrames":[null]}"#,
            r#"{"version":1,"seq":1,"seq":2,"keyFrames":[]}"#,
            r#"{"version":1,"seq":1,"keyFrames":[]} "#.trim_end_matches("} "),
            r#"{"version":1e999,"seq":1,"keyFrames":[]}"#,
            &many,
            &long,
            &deep,
        ];
        for message in messages {
            assert!(Request::parse(message.as_bytes()).is_err(), "{message}");
        }
        assert!(Request::parse(&[0xff, 0xfe]).is_err());
        let huge = vec![b' '; MAX_BYTES as usize + 1];
        assert!(matches!(Request::parse(&huge), Err(RequestError::TooLarge)));
        let newer = br#"{"version":2,"whatever":true}"#;
        assert!(matches!(
            Request::parse(newer),
            Err(RequestError::Version(2))
        ));
    }
}
