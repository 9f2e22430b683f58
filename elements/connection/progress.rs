//! PROGRESS messages of something that takes its time.

use gst::prelude::*;
use parking_lot::Mutex;

/// Posts PROGRESS so that each start has one end, and after it: complete, error or canceled.
///
/// One thread takes the steps; any may close.
#[derive(Debug)]
pub struct Progress {
    code: &'static str,
    stage: Mutex<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    /// A message of it is being posted.
    Posting,
    Open,
    /// The element stopped: nothing begins any more.
    Closed,
}

impl Progress {
    /// `code` names what goes on, for applications.
    pub fn new(code: &'static str) -> Self {
        Self {
            code,
            stage: Mutex::new(Stage::Idle),
        }
    }

    /// Begins, unless it has.
    pub fn start(&self, element: &impl IsA<gst::Element>, text: &str) {
        self.step(
            element,
            gst::ProgressType::Start,
            Stage::Idle,
            Stage::Open,
            text,
        );
    }

    /// It still goes on.
    pub fn carry_on(&self, element: &impl IsA<gst::Element>, text: &str) {
        self.step(
            element,
            gst::ProgressType::Continue,
            Stage::Open,
            Stage::Open,
            text,
        );
    }

    /// It is done, if it had begun.
    pub fn complete(&self, element: &impl IsA<gst::Element>, text: &str) {
        self.step(
            element,
            gst::ProgressType::Complete,
            Stage::Open,
            Stage::Idle,
            text,
        );
    }

    /// It failed, if it had begun. The ERROR follows.
    pub fn fail(&self, element: &impl IsA<gst::Element>, text: &str) {
        self.step(
            element,
            gst::ProgressType::Error,
            Stage::Open,
            Stage::Idle,
            text,
        );
    }

    /// The element stops: what goes on is canceled, and nothing begins any more.
    pub fn close(&self, element: &impl IsA<gst::Element>) {
        let before = std::mem::replace(&mut *self.stage.lock(), Stage::Closed);
        // Who is posting a message of it cancels it behind that message.
        if before == Stage::Open {
            self.cancel(element);
        }
    }

    fn cancel(&self, element: &impl IsA<gst::Element>) {
        self.post(element, gst::ProgressType::Canceled, "Stopped");
    }

    fn step(
        &self,
        element: &impl IsA<gst::Element>,
        kind: gst::ProgressType,
        from: Stage,
        to: Stage,
        text: &str,
    ) {
        let mut stage = self.stage.lock();
        if *stage != from {
            return;
        }
        *stage = Stage::Posting;
        drop(stage);
        self.post(element, kind, text);
        let mut stage = self.stage.lock();
        if *stage == Stage::Posting {
            *stage = to;
            return;
        }
        drop(stage);
        if to == Stage::Open {
            self.cancel(element);
        }
    }

    fn post(&self, element: &impl IsA<gst::Element>, kind: gst::ProgressType, text: &str) {
        let element = element.as_ref();
        let message = gst::message::Progress::builder(kind, self.code, text)
            .src(element)
            .build();
        // Without a bus nobody listens.
        let _ = element.post_message(message);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gst::ProgressType::{Canceled, Complete, Continue, Start};

    use super::*;

    /// What is posted when the element is stopped while a message of this kind is on its way.
    fn stopped_during(kind: gst::ProgressType) -> Vec<gst::ProgressType> {
        gst::init().unwrap();
        let element = gst::Bin::new();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let progress = Arc::new(Progress::new("test"));
        let posted = Arc::<Mutex<Vec<_>>>::default();
        let (into, closing, of) = (posted.clone(), progress.clone(), element.downgrade());
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Progress(message) = message.view() {
                if message.type_() == kind {
                    closing.close(&of.upgrade().unwrap());
                }
                into.lock().push(message.type_());
            }
            gst::BusSyncReply::Drop
        });
        progress.start(&element, "begins");
        progress.carry_on(&element, "goes on");
        progress.complete(&element, "is done");
        progress.start(&element, "begins again");
        progress.close(&element);
        bus.unset_sync_handler();
        element.set_bus(None);
        posted.lock().clone()
    }

    #[test]
    fn what_is_canceled_has_begun_and_is_over() {
        assert_eq!(stopped_during(Start), [Start, Canceled]);
        assert_eq!(stopped_during(Continue), [Start, Continue, Canceled]);
        assert_eq!(stopped_during(Complete), [Start, Continue, Complete]);
        let whole = [Start, Continue, Complete, Start, Canceled];
        assert_eq!(stopped_during(Canceled), whole);
    }
}
