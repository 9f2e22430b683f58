//! `gst-launch-1.0` in a process of its own, with one plugin of ours or of others.

use std::{
    collections::HashSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{LIMIT, hash};

/// From SIGINT to the end of the process.
const END_LIMIT: Duration = Duration::from_secs(10);

/// The plugin as it was built with this test.
pub fn our_plugin() -> PathBuf {
    let test = std::env::current_exe().expect("path of the test");
    let deps = test.parent().expect("the test is in a folder");
    let modified = |path: &PathBuf| {
        std::fs::metadata(path)
            .and_then(|data| data.modified())
            .ok()
    };
    [deps.join("libgstmoq.so"), deps.join("../libgstmoq.so")]
        .into_iter()
        .filter(|path| modified(path).is_some())
        .max_by_key(modified)
        .expect("the plugin was built with the tests")
}

/// A process that is killed when the test ends, however it ends.
pub struct Launch {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Launch {
    /// `gst-launch-1.0 -q -e` with this plugin and those of the system.
    pub fn start(plugin: &Path, description: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let plugins = folder.path().join("plugins");
        std::fs::create_dir_all(&plugins).expect("a folder");
        std::os::unix::fs::symlink(plugin, plugins.join("libgstmoq.so")).expect("linked");
        let registry = plugins.join("registry.bin");
        if let Some(known) = std::env::var_os("GST_REGISTRY") {
            // Saves scanning the system's plugins again.
            let _ = std::fs::copy(known, &registry);
        }
        let process = Command::new("gst-launch-1.0")
            .args(["-q", "-e"])
            .args(description.split_whitespace())
            .env("GST_PLUGIN_PATH", &plugins)
            .env("GST_REGISTRY", &registry)
            .env_remove("G_DEBUG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gst-launch-1.0");
        Self {
            process,
            _folder: folder,
        }
    }

    /// Reads pieces of `size` bytes that the pipeline writes with `fdsink fd=1`.
    pub fn pieces(&mut self, size: usize) -> Pieces {
        let output = self.process.stdout.take().expect("read once");
        Pieces::read(size, move || output)
    }

    pub fn interrupt(&self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    pub fn wait_end(&mut self) -> ExitStatus {
        let end = Instant::now() + END_LIMIT;
        loop {
            if let Some(status) = self.process.try_wait().expect("a child") {
                return status;
            }
            assert!(
                Instant::now() < end,
                "it does not end {END_LIMIT:?} after SIGINT"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Raw pictures or packets of sound, and how many of them differ.
#[derive(Clone, Default)]
pub struct Pieces(Arc<(Mutex<Counted>, Condvar)>);

#[derive(Default)]
struct Counted {
    all: usize,
    distinct: HashSet<u64>,
}

impl Pieces {
    /// Reads pieces of `size` bytes, in the background, from what `open` gives; it may block.
    fn read<R: Read>(size: usize, open: impl FnOnce() -> R + Send + 'static) -> Self {
        let pieces = Self::default();
        let into = pieces.clone();
        std::thread::spawn(move || {
            let mut output = open();
            let mut piece = vec![0; size];
            while output.read_exact(&mut piece).is_ok() {
                into.add(&piece);
            }
        });
        pieces
    }

    /// Makes a pipe of this name and reads what `filesink buffer-mode=unbuffered` writes to it.
    pub fn of_pipe(path: &Path, size: usize) -> Self {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo");
        let path = path.to_owned();
        Self::read(size, move || File::open(path).expect("a pipe"))
    }

    fn add(&self, piece: &[u8]) {
        let mut counted = self.0.0.lock();
        counted.all += 1;
        counted.distinct.insert(hash(piece));
        drop(counted);
        self.0.1.notify_all();
    }

    /// Waits until so many differ from each other; gives how many came and how many differ.
    pub fn wait_distinct(&self, what: &str, count: usize) -> (usize, usize) {
        let end = Instant::now() + LIMIT;
        let mut counted = self.0.0.lock();
        while counted.distinct.len() < count {
            if self.0.1.wait_until(&mut counted, end).timed_out() {
                let (all, distinct) = (counted.all, counted.distinct.len());
                panic!(
                    "{what}: {count} were to differ within {LIMIT:?}; {all} came, {distinct} differ"
                );
            }
        }
        (counted.all, counted.distinct.len())
    }
}
