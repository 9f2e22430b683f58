//! Queries and events of the element's pads.

use gst::{prelude::*, subclass::prelude::*};

use super::MoqSrc;

/// What the element and its pads answer alike; `None` for what is left to the default.
pub(super) fn answer(query: &mut gst::QueryRef) -> Option<bool> {
    match query.view_mut() {
        gst::QueryViewMut::Selectable(query) => {
            query.set_selectable(true);
            Some(true)
        }
        gst::QueryViewMut::Seeking(query) => {
            let format = query.format();
            let zero = gst::GenericFormattedValue::new(format, 0);
            let none = gst::GenericFormattedValue::none_for_format(format);
            query.set(false, zero, none);
            Some(true)
        }
        gst::QueryViewMut::Duration(_) => Some(false),
        _ => None,
    }
}

pub(super) fn src_pad_query(
    pad: &gst::GhostPad,
    parent: Option<&gst::Object>,
    query: &mut gst::QueryRef,
) -> bool {
    answer(query).unwrap_or_else(|| gst::Pad::query_default(pad, parent, query))
}

/// Whether somebody downstream asks for a key frame (gst-video's `force-key-unit`).
pub(super) fn asks_for_key_frame(event: &gst::EventRef) -> bool {
    event.type_() == gst::EventType::CustomUpstream
        && event
            .structure()
            .is_some_and(|structure| structure.name() == "GstForceKeyUnit")
}

/// Events that come from downstream.
pub(super) fn src_pad_event(
    pad: &gst::GhostPad,
    parent: Option<&gst::Object>,
    event: gst::Event,
) -> bool {
    match event.view() {
        gst::EventView::SelectStreams(select) => parent
            .and_then(|parent| parent.downcast_ref::<MoqSrc>())
            .is_some_and(|element| element.imp().select(select)),
        // Live, and a relay has no word for it.
        gst::EventView::Seek(_) => false,
        _ => gst::Pad::event_default(pad, parent, event),
    }
}
