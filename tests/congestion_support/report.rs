//! What came of a simulated connection.

use std::time::Duration;

use super::{
    apps::{App, Frame},
    world::Flow,
};

/// Times above the one-way delay, in ms.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Of the frames of video, 0.0 to 1.0.
    pub delivered: f64,
    pub audio_delivered: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub audio_p95: f64,
    /// Bytes of frames that arrived, Mbit/s.
    pub goodput: f64,
    /// Wait at the bottleneck.
    pub queue_p95: f64,
    /// Of all packets.
    pub overflowed: f64,
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() {
        return f64::INFINITY;
    }
    let last = values.len() - 1;
    values[((last as f64) * share).round() as usize]
}

pub fn frames(flow: &Flow) -> &[Frame] {
    match &flow.app {
        App::Media(media) => &media.frames,
        App::Bulk { .. } => &[],
    }
}

fn latencies(frames: &[&Frame], delay: Duration) -> Vec<f64> {
    let arrived = frames
        .iter()
        .filter_map(|frame| frame.arrived.map(|at| at - frame.made));
    arrived.map(|late| ms(late) - ms(delay)).collect()
}

/// Of what was made, or arrived, between `from` and `to`.
pub fn report(flow: &Flow, delay: Duration, from: Duration, to: Duration) -> Report {
    let within = |frame: &&Frame| (from..to).contains(&frame.made);
    let (audio, video): (Vec<&Frame>, Vec<&Frame>) = frames(flow)
        .iter()
        .filter(within)
        .partition(|frame| frame.audio);
    let share = |frames: &[&Frame]| {
        let arrived = frames
            .iter()
            .filter(|frame| frame.arrived.is_some())
            .count();
        arrived as f64 / frames.len().max(1) as f64
    };
    let late = latencies(&video, delay);
    let queue = flow.queue.iter().filter(|(at, _)| (from..to).contains(at));
    Report {
        delivered: share(&video),
        audio_delivered: share(&audio),
        p50: percentile(late.clone(), 0.5),
        p95: percentile(late.clone(), 0.95),
        p99: percentile(late, 0.99),
        audio_p95: percentile(latencies(&audio, delay), 0.95),
        goodput: goodput(flow, from, to),
        queue_p95: percentile(queue.map(|(_, wait)| ms(*wait)).collect(), 0.95),
        overflowed: flow.overflowed as f64 / flow.sent.max(1) as f64,
    }
}

/// Bytes that arrived between `from` and `to`, Mbit/s.
pub fn goodput(flow: &Flow, from: Duration, to: Duration) -> f64 {
    let arrived = flow
        .received
        .iter()
        .filter(|(at, _)| (from..to).contains(at));
    let bytes: usize = arrived.map(|(_, bytes)| bytes).sum();
    bytes as f64 * 8.0 / 1e6 / (to - from).as_secs_f64()
}

/// How long after `back` the first frame of video arrives that is at most 100 ms above the one-way delay, ms.
pub fn recovery(flow: &Flow, delay: Duration, back: Duration) -> f64 {
    let live = frames(flow)
        .iter()
        .filter(|frame| !frame.audio)
        .filter_map(|frame| {
            let at = frame.arrived?;
            (at >= back && at - frame.made <= delay + Duration::from_millis(100)).then_some(at)
        });
    live.min().map_or(f64::INFINITY, |at| ms(at - back))
}
