//! The tokio runtimes of the process, one for dialled connections and one for what serves: made at first use, never dropped.
//!
//! Made lazily because the plugin scanner forks, and never dropped because a runtime
//! may not be dropped from within another one (an application's).

mod log;

use std::sync::LazyLock;

use tokio::runtime::{Builder, Handle, Runtime};

pub use self::log::{Level, LogSink, redact, set_log_sink};

/// One worker. A frame passes through four to six tasks, one after the other: with a second worker each hand-over wakes another
/// thread, which costs more than the task does (docs/performance.md).
static CLIENTS: LazyLock<Runtime> = LazyLock::new(|| build("moq-runtime", 1));

static SERVERS: LazyLock<Runtime> = LazyLock::new(|| {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(2));
    build("moq-server", workers)
});

fn build(name: &str, workers: usize) -> Runtime {
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(name)
        .on_thread_start(log::attach)
        .enable_all()
        .build()
        .expect("the process can start threads");
    runtime.spawn(log::follow_loudness());
    runtime
}

/// A handle to the runtime of what this process dials. Spawning on it needs no runtime context.
pub fn handle() -> &'static Handle {
    CLIENTS.handle()
}

/// A handle to the runtime of what others dial, many at once: the relay, the path emulator.
pub fn servers() -> &'static Handle {
    SERVERS.handle()
}
