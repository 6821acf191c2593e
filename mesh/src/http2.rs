//! HTTP/2 settings of both sides of a connection.

/// Flow-control windows, in bytes.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
