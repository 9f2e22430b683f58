//! A datagram on its way.

/// A datagram and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<T> {
    /// UDP payload.
    pub payload: Box<[u8]>,
    /// Congestion marks of the IP header.
    pub ecn: Ecn,
    /// Where it goes.
    pub to: T,
}

/// Explicit congestion notification, RFC 3168, section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ecn {
    /// Not capable.
    #[default]
    None,
    Ect0,
    Ect1,
    /// Congestion was experienced.
    Ce,
}

impl Ecn {
    /// Marks congestion; `false` if the flow is not capable.
    pub(super) fn mark(&mut self) -> bool {
        let capable = *self != Self::None;
        if capable {
            *self = Self::Ce;
        }
        capable
    }
}
