//! Traces of QUIC connections for tools such as qvis (draft-ietf-quic-qlog-main-schema, as JSON-SEQ), in the folder that the
//! environment variable `QLOGDIR` names.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, LineWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use quinn::{QlogConfig, QlogStream, TransportConfig};

use crate::runtime;

/// As other QUIC implementations have it.
const VARIABLE: &str = "QLOGDIR";

/// Whose packets a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A dial: of one address as a rule, of several where a host has them; events carry a `group_id` each.
    Client,
    /// All connections of a relay.
    Server,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Has the connections of this transport traced, if `QLOGDIR` is set. What cannot be written is told in the log, once, and
/// concerns no connection. Reads the environment, and may wait for the file system.
pub fn trace(transport: &mut TransportConfig, role: Role) {
    let folder = std::env::var_os(VARIABLE);
    transport.qlog_stream(stream(folder.as_deref(), role));
}

fn stream(folder: Option<&OsStr>, role: Role) -> Option<QlogStream> {
    let folder = Path::new(folder.filter(|folder| !folder.is_empty())?);
    let start = Instant::now();
    let log = Log::create(folder, role)
        .inspect_err(|err| warn(folder, err))
        .ok()?;
    let mut config = QlogConfig::default();
    config
        .title(Some(format!("gst-plugin-moq, {}", role.as_str())))
        .start_time(start)
        .writer(Box::new(log));
    config.into_stream()
}

/// Once in a process: a relay has many connections, and a connection many packets.
fn warn(path: &Path, err: &io::Error) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if TOLD.swap(true, Ordering::Relaxed) {
        return;
    }
    let text = format!(
        "cannot write {}, in the folder that {VARIABLE} names: {err}; connections go on without",
        path.display()
    );
    // Threads of the runtime have a log, the one that starts a relay has none.
    runtime::handle().spawn(async move { tracing::warn!("{text}") });
}

/// A trace as it is written: whole lines, so that all is there when the process is killed. Ends at the first failure.
struct Log {
    path: PathBuf,
    file: Option<LineWriter<File>>,
}

impl Log {
    /// Named by the time in ms since 1970 at which it begins, which is time 0 of its events; role; process; number.
    fn create(folder: &Path, role: Role) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        std::fs::create_dir_all(folder)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let name = format!(
            "{}-{}-{}-{}.sqlog",
            since.unwrap_or_default().as_millis(),
            role.as_str(),
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = folder.join(name);
        let file = File::create_new(&path)?;
        let file = Some(LineWriter::new(file));
        Ok(Self { path, file })
    }

    fn with(&mut self, write: impl FnOnce(&mut LineWriter<File>) -> io::Result<()>) {
        if let Some(file) = &mut self.file
            && let Err(err) = write(file)
        {
            warn(&self.path, &err);
            self.file = None;
        }
    }
}

impl Write for Log {
    /// Never fails: quinn would tell it of each packet.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.with(|file| file.write_all(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|file| file.flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn each_trace_has_a_file_of_its_own_that_says_whose_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("made/on/demand");
        for role in [Role::Client, Role::Client, Role::Server] {
            assert!(stream(Some(folder.as_os_str()), role).is_some());
        }
        let names = files(&folder);
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|name| name.ends_with(".sqlog")));
        let servers = names.iter().filter(|name| name.contains("-server-"));
        assert_eq!(servers.count(), 1);
        let text = std::fs::read_to_string(folder.join(&names[0])).unwrap();
        assert!(text.contains("JSON-SEQ"), "{text}");
    }

    #[test]
    fn nothing_is_traced_without_a_folder_or_where_none_can_be() {
        assert!(stream(None, Role::Client).is_none());
        assert!(stream(Some(OsStr::new("")), Role::Client).is_none());
        let file = tempfile::NamedTempFile::new().unwrap();
        let below = file.path().join("folder");
        assert!(stream(Some(below.as_os_str()), Role::Server).is_none());
    }

    #[test]
    fn a_trace_that_can_be_written_no_longer_is_given_up_and_fails_nobody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        // Opened for reading: nothing can be written.
        let mut log = Log {
            file: Some(LineWriter::new(File::open(&path).unwrap())),
            path,
        };
        log.write_all(b"{}\n").unwrap();
        assert!(log.file.is_none());
        log.write_all(b"{}\n").unwrap();
        log.flush().unwrap();
    }
}
