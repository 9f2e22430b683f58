//! PROGRESS messages of something that takes its time.

use gst::prelude::*;
use parking_lot::Mutex;

/// Posts PROGRESS so that each start has one end: complete, error or canceled.
#[derive(Debug)]
pub struct Progress {
    code: &'static str,
    stage: Mutex<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
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
        if before == Stage::Open {
            self.post(element, gst::ProgressType::Canceled, "Stopped");
        }
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
        *stage = to;
        drop(stage);
        self.post(element, kind, text);
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
