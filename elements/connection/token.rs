//! The signal `request-token`: the application gives a new token before the old one expires, or when a relay refused it.

use gst::{
    glib::{self, subclass::Signal},
    prelude::*,
};

use tokio::{sync::watch, task::AbortHandle};

use super::EventPump;
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
 * thread that does nothing else: it may be blocked. An application's hook.
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

/// Asks the application for a token when one is wanted, on a thread of its own, which is made for the first request: whatever a
/// handler waits for holds up nothing else of the element. Dropping it ends that, but for the request in hand.
pub struct TokenRequests(AbortHandle);

impl TokenRequests {
    /// `take` gets the tokens, on that thread, which is called `name`.
    pub fn answer<O>(
        element: &O,
        name: &'static str,
        connection: &Connection,
        take: impl Fn(&O, Secret) + Send + 'static,
    ) -> Self
    where
        O: IsA<gst::Element> + glib::clone::Downgrade,
        glib::WeakRef<O>: Send,
    {
        let element = ObjectExt::downgrade(element);
        let mut requests = connection.token_requests();
        // One that was made before counts.
        requests.mark_changed();
        let task = runtime::handle().spawn(async move {
            let Some(mut url) = next(&mut requests).await else {
                return;
            };
            let ask = move |element: &O, url: String| {
                if let Some(token) = request(element, &url) {
                    take(element, token);
                }
            };
            let pump = match EventPump::weak(element, name, ask) {
                Ok(pump) => pump,
                Err(err) => {
                    gst::error!(gst::CAT_DEFAULT, "No thread to ask for tokens: {err}");
                    return;
                }
            };
            while pump.sender().send(url).await {
                match next(&mut requests).await {
                    Some(next) => url = next,
                    None => return,
                }
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for TokenRequests {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The next request that was not seen; `None` when the connection is gone.
async fn next(requests: &mut watch::Receiver<Option<String>>) -> Option<String> {
    loop {
        requests.changed().await.ok()?;
        if let Some(url) = requests.borrow_and_update().clone() {
            return Some(url);
        }
    }
}

/// Not on the runtime, and with no lock held.
fn request(element: &impl IsA<gst::Element>, url: &str) -> Option<Secret> {
    let element = element.upcast_ref::<gst::Element>();
    let token = element.emit_by_name::<Option<String>>(REQUEST_TOKEN, &[&url]);
    token.filter(|token| !token.is_empty()).map(Secret)
}
