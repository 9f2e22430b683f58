//! Finding broadcasts, reading their catalog, tracks and groups, and playing them:
//!
//! * [`reader`]: broadcasts, tracks and groups as async readers over `moq_net`;
//! * `catalog`: the catalog of a broadcast, followed;
//! * [`queue`]: the bounded queue between the player and the streaming thread of a pad;
//! * [`engine`]: what is pushed when, pure;
//! * [`player`]: joins the readers with `policy` and fills the queues.

pub(super) mod catalog;
pub mod engine;
pub mod player;
pub mod queue;
pub mod reader;
mod track;

pub use catalog::CatalogFormat;
pub use player::{Player, PlayerConfig, PlayerEvent, RunningClock, Start};
pub use queue::{Frame, Item, TrackQueue};
