//! The signal `request-token`: the application gives a new token before the old one expires, or when a relay refused it.

use gst::{
    glib::{self, subclass::Signal},
    prelude::*,
};

use super::EventSender;
use crate::{
    net::{config::Secret, session::Connection},
    runtime,
};

const REQUEST_TOKEN: &str = "request-token";

/*
 * GstMoqSink::request-token, GstMoqSrc::request-token:
 * @url: the relay that the token is for, without query
 *
 * Emitted before a JWT expires (30 s, or the last fifth of a shorter life) and when the relay refuses the token, from a
 * thread that neither streams nor serves the network: it may be blocked, while messages wait. An application's hook.
 *
 * Returns: the token that takes the place of `auth-token`, %NULL or empty to keep the old one
 */
/// For the list of an element's signals.
pub fn token_signal() -> Signal {
    Signal::builder(REQUEST_TOKEN)
        .param_types([String::static_type()])
        .return_type::<Option<String>>()
        .build()
}

/// Asks the application. Not on the runtime, and with no lock held.
pub fn request_token(element: &impl IsA<glib::Object>, url: &str) -> Option<Secret> {
    let token = element.emit_by_name::<Option<String>>(REQUEST_TOKEN, &[&url]);
    token.filter(|token| !token.is_empty()).map(Secret)
}

/// Sends each request for a token into the pump until either is gone.
pub fn forward_token_requests<E: Send + 'static>(
    connection: &Connection,
    sender: EventSender<E>,
    wrap: impl Fn(String) -> E + Send + 'static,
) {
    let mut requests = connection.token_requests();
    runtime::handle().spawn(async move {
        loop {
            let request = requests.borrow_and_update().clone();
            if let Some(url) = request
                && !sender.send(wrap(url)).await
            {
                return;
            }
            if requests.changed().await.is_err() {
                return;
            }
        }
    });
}
