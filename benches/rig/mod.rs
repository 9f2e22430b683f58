//! What the benchmarks share: processes that publish, play and relay, the path between them, what is seen where, and how it is
//! reported. Each program uses what it needs of it.
#![allow(dead_code)]

mod adts;
mod commit;
pub mod figures;
pub mod job;
pub mod page;
pub mod play;
pub mod plot;
pub mod plugins;
pub mod process;
pub mod publish;
pub mod relays;
pub mod run;
pub mod sights;
pub mod stream;

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

/// What this program does when it started itself as a part of a run.
pub fn role(role: &str) -> Result<()> {
    match role {
        "relay" => relays::serve(),
        "publish" => publish::run(),
        "play" => play::run(),
        "soak" => play::soak(),
        role => Err(format!("no such role: {role}").into()),
    }
}

/// Ends a part of a run that failed, without the order in which pipelines are to be stopped.
fn fail(err: &str) -> ! {
    eprintln!("  {err}");
    std::process::exit(1)
}
