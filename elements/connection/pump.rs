//! A plain thread that runs what must not run on the runtime's workers: messages, notifications, pads.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use gst::{glib, prelude::*};

use crate::{
    net::session::{Connection, State},
    runtime,
};

const CAPACITY: usize = 256;
/// How long a task waits before it offers an event again to a pump whose handler is busy.
const BUSY: Duration = Duration::from_millis(5);

/// Calls a handler for each event, in order, with the element as long as it is there.
///
/// Dropping the pump ends the thread after the event in hand: what is queued is dropped. Nothing joins the thread, so
/// the handler may stop the element.
pub struct EventPump<E> {
    /// The only lasting one: with it the channel closes.
    sender: Arc<SyncSender<E>>,
    stopped: Arc<AtomicBool>,
}

impl<E: Send + 'static> EventPump<E> {
    /// Starts the thread. Fails when the system gives none.
    pub fn new<O>(
        element: &O,
        name: &str,
        handle: impl FnMut(&O, E) + Send + 'static,
    ) -> std::io::Result<Self>
    where
        O: IsA<gst::Element> + glib::clone::Downgrade,
        glib::WeakRef<O>: Send,
    {
        Self::weak(ObjectExt::downgrade(element), name, handle)
    }

    /// [`Self::new`] where nothing may hold the element.
    pub(super) fn weak<O>(
        element: glib::WeakRef<O>,
        name: &str,
        handle: impl FnMut(&O, E) + Send + 'static,
    ) -> std::io::Result<Self>
    where
        O: IsA<gst::Element>,
        glib::WeakRef<O>: Send,
    {
        let (sender, events) = sync_channel(CAPACITY);
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&element, &events, &stop, handle))?;
        Ok(Self {
            sender: Arc::new(sender),
            stopped,
        })
    }

    /// Hands events in, from any thread.
    pub fn sender(&self) -> EventSender<E> {
        EventSender(Arc::downgrade(&self.sender))
    }
}

impl<E> Drop for EventPump<E> {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
    }
}

fn run<O: IsA<gst::Element>, E>(
    element: &glib::WeakRef<O>,
    events: &Receiver<E>,
    stop: &AtomicBool,
    mut handle: impl FnMut(&O, E),
) {
    while let Ok(event) = events.recv() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let Some(element) = element.upgrade() else {
            return;
        };
        // A panic is an error of this element, not a silent end.
        if std::panic::catch_unwind(AssertUnwindSafe(|| handle(&element, event))).is_err() {
            gst::element_error!(
                element.as_ref(),
                gst::LibraryError::Failed,
                ["Internal error while handling an event"]
            );
            return;
        }
    }
}

/// The sending end of an [`EventPump`], which it does not keep alive.
pub struct EventSender<E>(Weak<SyncSender<E>>);

impl<E> Clone for EventSender<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> EventSender<E> {
    /// Never blocks; gives the event back when the queue is full or the pump is gone.
    pub fn try_send(&self, event: E) -> Result<(), TrySendError<E>> {
        match self.0.upgrade() {
            Some(sender) => sender.try_send(event),
            None => Err(TrySendError::Disconnected(event)),
        }
    }

    /// Waits for room without blocking a worker; false when the pump is gone.
    pub async fn send(&self, mut event: E) -> bool {
        loop {
            match self.try_send(event) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => event = back,
            }
            tokio::time::sleep(BUSY).await;
        }
    }
}

/// Sends the connection's state, and every change of it, into the pump until either is gone.
///
/// A busy pump sees the newest state, not every one.
pub fn forward_states<E: Send + 'static>(
    connection: &Connection,
    sender: EventSender<E>,
    wrap: impl Fn(State) -> E + Send + 'static,
) {
    let mut states = connection.state();
    runtime::handle().spawn(async move {
        loop {
            let state = states.borrow_and_update().clone();
            if !sender.send(wrap(state)).await || states.changed().await.is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn events_arrive_in_order_on_the_named_thread() {
        gst::init().unwrap();
        let element = gst::Bin::new();
        let (done, got) = mpsc::channel();
        let pump = EventPump::new(&element, "test-events", move |_, n: u32| {
            let name = std::thread::current().name().map(str::to_owned);
            done.send((n, name)).unwrap();
        })
        .unwrap();
        for n in 0..3 {
            pump.sender().try_send(n).unwrap();
        }
        for n in 0..3 {
            assert_eq!(
                got.recv_timeout(LIMIT).unwrap(),
                (n, Some("test-events".to_owned()))
            );
        }
    }

    #[test]
    fn after_the_drop_nothing_is_handled_and_the_thread_ends() {
        gst::init().unwrap();
        let element = gst::Bin::new();
        let (entered, enter) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let pump = EventPump::new(&element, "test-events", move |_, n: u32| {
            entered.send(n).unwrap();
            let _ = held.recv();
        })
        .unwrap();
        pump.sender().try_send(1).unwrap();
        pump.sender().try_send(2).unwrap();
        assert_eq!(enter.recv_timeout(LIMIT).unwrap(), 1);
        let sender = pump.sender();
        drop(pump);
        assert_eq!(sender.try_send(3), Err(TrySendError::Disconnected(3)));
        release.send(()).unwrap();
        // The thread drops its handler when it ends, and with it this channel.
        assert_eq!(
            enter.recv_timeout(LIMIT),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn the_pump_does_not_keep_the_element() {
        gst::init().unwrap();
        let element = gst::Bin::new();
        let weak = ObjectExt::downgrade(&element);
        let _pump = EventPump::new(&element, "test-events", |_, _: ()| {}).unwrap();
        drop(element);
        assert!(weak.upgrade().is_none());
    }
}
