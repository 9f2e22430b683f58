//! Asks only what may have news.
//!
//! `moq_net` polls everything that a session waits for whenever anything of it happens, a frame sent included. Each question
//! costs the lock of the QUIC connection, which its driver wants at the same time. But the transport says when an answer that
//! was not there may be: until then the question is not passed on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use parking_lot::Mutex;

/// In front of `N` operations that may wake each other's waiter, because the transport keeps one waker for all of them.
pub(super) struct Gate<const N: usize> {
    /// From the first question on: most clones of a session ask none.
    bell: Option<(Arc<Bell>, Waker)>,
    /// How often the bell had rung when an operation was told to wait.
    waiting: [Option<u64>; N],
}

/// What the transport wakes.
#[derive(Default)]
struct Bell {
    rung: AtomicU64,
    /// Who polled last.
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.fetch_add(1, Ordering::Release);
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Bell {
    /// And what rings it.
    fn with_waker() -> (Arc<Self>, Waker) {
        let bell = Arc::<Self>::default();
        (bell.clone(), bell.into())
    }

    fn wake_later(&self, waker: &Waker) {
        let mut task = self.task.lock();
        match &*task {
            Some(old) if old.will_wake(waker) => {}
            _ => *task = Some(waker.clone()),
        }
    }
}

impl<const N: usize> Gate<N> {
    pub(super) fn new() -> Self {
        Self {
            bell: None,
            waiting: [None; N],
        }
    }

    /// Polls an operation, unless it is known that it has to wait.
    pub(super) fn poll<T>(
        &mut self,
        operation: usize,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let (bell, waker) = self.bell.get_or_insert_with(Bell::with_waker);
        // In this order: a ring that comes after the count is read finds the task.
        bell.wake_later(cx.waker());
        let rung = bell.rung.load(Ordering::Acquire);
        if self.waiting[operation] == Some(rung) {
            return Poll::Pending;
        }
        let answer = ask(&mut Context::from_waker(waker));
        self.waiting[operation] = answer.is_pending().then_some(rung);
        answer
    }

    /// The same for one whose end, `None` or an error, changes the others' answers without a word of the transport.
    pub(super) fn poll_last<T, E>(
        &mut self,
        operation: usize,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<Result<Option<T>, E>>,
    ) -> Poll<Result<Option<T>, E>> {
        let answer = self.poll(operation, cx, ask);
        if matches!(answer, Poll::Ready(Ok(None) | Err(_))) {
            self.open();
        }
        answer
    }

    /// Something was done here that may change the answers without a word of the transport.
    pub(super) fn open(&mut self) {
        self.waiting = [None; N];
    }
}

/// Another poller of the same thing waits by itself.
impl<const N: usize> Clone for Gate<N> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A gate, who polls it, and the waker that the transport was given last.
    struct Rig {
        gate: Gate<2>,
        task: Arc<Task>,
        kept: Option<Waker>,
        asked: usize,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                gate: Gate::new(),
                task: Arc::default(),
                kept: None,
                asked: 0,
            }
        }

        fn poll(&mut self, operation: usize, answer: Poll<()>) -> Poll<()> {
            let waker = Waker::from(self.task.clone());
            let mut cx = Context::from_waker(&waker);
            self.gate.poll(operation, &mut cx, |cx| {
                self.asked += 1;
                self.kept = Some(cx.waker().clone());
                answer
            })
        }

        fn ring(&self) {
            self.kept.as_ref().unwrap().wake_by_ref();
        }

        fn woken(&self) -> usize {
            self.task.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn what_waits_is_asked_again_once_the_transport_has_news() {
        let mut rig = Rig::new();
        for _ in 0..3 {
            assert!(rig.poll(0, Poll::Pending).is_pending());
        }
        assert_eq!((rig.asked, rig.woken()), (1, 0));
        rig.ring();
        assert_eq!(rig.woken(), 1);
        assert!(rig.poll(0, Poll::Ready(())).is_ready());
        assert!(rig.poll(0, Poll::Ready(())).is_ready());
        assert_eq!(rig.asked, 3, "an answer says nothing of the next one");
    }

    #[test]
    fn news_that_come_while_the_transport_is_asked_are_not_lost() {
        let mut rig = Rig::new();
        let waker = Waker::from(rig.task.clone());
        let mut cx = Context::from_waker(&waker);
        let polled: Poll<()> = rig.gate.poll(0, &mut cx, |cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(rig.woken(), 1);
        let _ = rig.poll(0, Poll::Pending);
        assert_eq!(rig.asked, 1);
    }

    #[test]
    fn news_for_one_operation_let_the_other_ask_as_well() {
        let mut rig = Rig::new();
        let _ = rig.poll(0, Poll::Pending);
        let _ = rig.poll(1, Poll::Pending);
        rig.ring();
        let _ = rig.poll(0, Poll::Pending);
        let _ = rig.poll(1, Poll::Pending);
        assert_eq!(rig.asked, 4);
    }

    #[test]
    fn who_polled_last_is_woken_though_nothing_was_asked_for_him() {
        let mut rig = Rig::new();
        let _ = rig.poll(0, Poll::Pending);
        let first = std::mem::take(&mut rig.task);
        let _ = rig.poll(0, Poll::Pending);
        rig.ring();
        assert_eq!(rig.woken(), 1);
        assert_eq!(first.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_done_on_this_side_opens_the_gate() {
        let mut rig = Rig::new();
        let _ = rig.poll(0, Poll::Pending);
        rig.gate.open();
        assert!(rig.poll(0, Poll::Ready(())).is_ready());
    }
}
