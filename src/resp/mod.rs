//! The Redis protocol: requests in, replies out. No I/O; sockets, the log reader and the tools share it.
//!
//! A request is `*<count>\r\n` followed by `count` times `$<length>\r\n<bytes>\r\n`, or an inline line of words.
//! The same shape is a record of the append-only log.

pub mod reply;
pub mod request;

pub use reply::{Encoder, Protocol, Reply};
pub use request::{Decoder, ProtocolError, encode_request};
