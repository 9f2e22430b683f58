//! Whether something in a pipeline waits for an end of stream that nothing can send.

use gst::prelude::*;

/// Whether a sink of the pipeline that this element is in is fed by nothing, so that it never ends, nor the pipeline; or whether
/// there is no sink at all.
pub(super) fn is_endless(element: &impl IsA<gst::Object>) -> bool {
    let mut top = element.upcast_ref::<gst::Object>().clone();
    while let Some(parent) = top.parent() {
        top = parent;
    }
    let Some(top) = top.downcast_ref::<gst::Bin>() else {
        return false;
    };
    let sinks = sinks(top);
    sinks.is_empty() || sinks.iter().any(|sink| is_starved(sink, &mut Vec::new()))
}

fn sinks(bin: &gst::Bin) -> Vec<gst::Element> {
    // An error says that the list changed meanwhile, and is the end of it.
    bin.iterate_sinks()
        .into_iter()
        .map_while(Result::ok)
        .collect()
}

/// Nothing is linked to it, or to something upstream of it, that does not make data itself. What is `known` is being looked at.
fn is_starved(element: &gst::Element, known: &mut Vec<gst::Element>) -> bool {
    if known.contains(element) {
        return false;
    }
    known.push(element.clone());
    if let Some(bin) = element.downcast_ref::<gst::Bin>() {
        let inner = sinks(bin);
        if !inner.is_empty() {
            return inner.iter().any(|sink| is_starved(sink, known));
        }
    }
    let feeders: Vec<gst::Element> = element.sink_pads().iter().filter_map(feeder).collect();
    match feeders.is_empty() {
        true => !element.element_flags().contains(gst::ElementFlags::SOURCE),
        false => feeders.iter().any(|feeder| is_starved(feeder, known)),
    }
}

/// The element that is linked to a sink pad, through the walls of bins.
fn feeder(pad: &gst::Pad) -> Option<gst::Element> {
    let mut from = pad.peer()?;
    loop {
        if let Some(ghost) = from.downcast_ref::<gst::GhostPad>() {
            // Out of a bin: what feeds it is inside.
            from = ghost.internal()?.peer()?;
        } else if let Some(inside) = from.downcast_ref::<gst::ProxyPad>() {
            // Into a bin: what feeds it is outside.
            from = inside.internal()?.peer()?;
        } else {
            return from.parent_element();
        }
    }
}
