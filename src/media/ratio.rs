//! Fractions.

/// A fraction in lowest terms; halved until it fits where that is not enough.
pub(super) fn reduce(mut a: u64, mut b: u64) -> (u32, u32) {
    let divisor = gcd(a, b).max(1);
    a /= divisor;
    b /= divisor;
    while a > u64::from(u32::MAX) || b > u64::from(u32::MAX) {
        a = (a >> 1).max(1);
        b = (b >> 1).max(1);
    }
    (a as u32, b as u32)
}

/// Frames a second as a fraction, reduced; `None` for what is no frame rate.
pub(super) fn framerate(frames: u64, seconds: u64) -> Option<(u32, u32)> {
    let (rate, base) = reduce(frames, seconds);
    // Beyond 1000 frames a second the field is rubbish. Caps count in signed 32 bits.
    let sane = rate > 0
        && base > 0
        && u64::from(rate) <= 1_000 * u64::from(base)
        && rate <= i32::MAX as u32
        && base <= i32::MAX as u32;
    sane.then_some((rate, base))
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
