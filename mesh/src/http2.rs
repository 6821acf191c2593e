//! What both sides of an HTTP/2 connection agree on.

/// The windows: large enough for the largest message to travel without waiting.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
