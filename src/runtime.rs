//! The one tokio runtime of the process: made at first use, never dropped.
//!
//! Made lazily because the plugin scanner forks, and never dropped because a runtime
//! may not be dropped from within another one (an application's).

mod log;

use std::sync::LazyLock;

use tokio::runtime::{Builder, Handle, Runtime};

pub use self::log::{Level, LogSink, redact, set_log_sink};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(2));
    Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("moq-runtime")
        .on_thread_start(log::attach)
        .enable_all()
        .build()
        .expect("the process can start threads")
});

/// A handle to the runtime. Spawning on it needs no runtime context.
pub fn handle() -> &'static Handle {
    RUNTIME.handle()
}
