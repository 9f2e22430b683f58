//! `gst-launch-1.0` in a process of its own, with one plugin of ours or of others.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    time::Instant,
};

use parking_lot::{Condvar, Mutex};

use super::{LIMIT, hash, process::Process};

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

/// `gst-launch-1.0`; killed when dropped.
pub struct Launch {
    pub process: Process,
    _folder: tempfile::TempDir,
}

impl Launch {
    /// `gst-launch-1.0 -q -e` with this plugin and those of the system.
    pub fn start(plugin: &Path, description: &str) -> Self {
        Self::with(plugin, &["-q", "-e"], description, false)
    }

    /// The same with our plugin, and all that it prints.
    pub fn talking(description: &str) -> (Self, Printed) {
        let mut launch = Self::with(&our_plugin(), &["-e"], description, true);
        let printed = Printed::default();
        printed.read(launch.process.stdout());
        printed.read(launch.process.stderr());
        (launch, printed)
    }

    fn with(plugin: &Path, options: &[&str], description: &str, errors: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let plugins = folder.path().join("plugins");
        std::fs::create_dir_all(&plugins).expect("a folder");
        std::os::unix::fs::symlink(plugin, plugins.join("libgstmoq.so")).expect("linked");
        let registry = plugins.join("registry.bin");
        if let Some(known) = std::env::var_os("GST_REGISTRY") {
            // Saves scanning the system's plugins again.
            let _ = std::fs::copy(known, &registry);
        }
        let mut command = Command::new("gst-launch-1.0");
        command
            .args(options)
            .args(description.split_whitespace())
            .env("GST_PLUGIN_PATH", &plugins)
            .env("GST_REGISTRY", &registry)
            .env_remove("G_DEBUG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if errors {
            command.stderr(Stdio::piped());
        }
        Self {
            process: Process::start(&mut command),
            _folder: folder,
        }
    }

    /// Reads pieces of `size` bytes that the pipeline writes with `fdsink fd=1`.
    pub fn pieces(&mut self, size: usize) -> Pieces {
        let output = self.process.stdout();
        Pieces::read(size, move || output)
    }

    pub fn interrupt(&self) {
        self.process.interrupt();
    }

    pub fn wait_end(&mut self) -> ExitStatus {
        self.process.wait_end()
    }
}

/// Lines that a program prints.
#[derive(Clone, Default)]
pub struct Printed(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Printed {
    fn read(&self, output: impl Read + Send + 'static) {
        let into = self.0.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                into.0.lock().push(line);
                into.1.notify_all();
            }
        });
    }

    /// Waits for a line with this in it.
    pub fn wait(&self, wanted: &str) -> String {
        let end = Instant::now() + LIMIT;
        let mut lines = self.0.0.lock();
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(wanted)) {
                return line.clone();
            }
            let late = self.0.1.wait_until(&mut lines, end).timed_out();
            assert!(!late, "'{wanted}' is not among {lines:#?}");
        }
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
