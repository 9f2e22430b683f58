//! What every element that dials has in common: properties, state, bus messages, statistics.
//!
//! An element keeps `Mutex<ConnectionSettings>` and `Arc<ConnectionStatus>`. When it starts:
//!
//! ```ignore
//! let config = settings.lock().config()?;                                    // an error: post_error
//! let mut reporter = Reporter::new(Direction::Write, status.clone(), &config);
//! let connection = Connection::open(config, Role::Publisher, retention);
//! let pump = EventPump::new(&element, "moqsink-events", move |element, event| match event {
//!     Event::Connection(state) => reporter.report(element, state),
//! })?;
//! forward_states(&connection, pump.sender(), Event::Connection);
//! let tokens = TokenRequests::answer(&element, "moqsink-token", &connection, |element, token| {
//!     element.imp().take_token(token);
//! });
//! ```
//!
//! When it stops it drops the pump and the token requests, closes the connection and calls [`ConnectionStatus::reset`].

mod progress;
mod pump;
mod report;
mod settings;
mod stats;
mod status;
mod token;

pub use progress::Progress;
pub use pump::{EventPump, EventSender, forward_states};
pub use report::{Direction, Reporter, post_error, post_info, post_warning};
pub use settings::{ConnectionSettings, MoqCongestionControl, MoqTransport, may_change, strings};
pub use stats::transport_stats;
pub use status::{ConnectionStatus, MoqConnectionState};
pub use token::{TokenRequests, token_signal};

use gst::{glib::prelude::*, prelude::*};

/// Makes the enums known to the documentation tools.
pub(crate) fn register_types() {
    for type_ in [
        MoqTransport::static_type(),
        MoqCongestionControl::static_type(),
        MoqConnectionState::static_type(),
    ] {
        type_.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
}
