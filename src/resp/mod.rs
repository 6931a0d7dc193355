//! The Redis protocol: requests in, replies out, and for the tools the other side of it. No I/O; sockets, the log
//! reader and the tools share it.
//!
//! A request is `*<count>\r\n` followed by `count` times `$<length>\r\n<bytes>\r\n`, or an inline line of words.
//! The same shape is a record of the append-only log.

pub mod answer;
pub mod reply;
pub mod request;

pub use answer::{Answer, AnswerError};
pub use reply::{Encoder, Protocol, Reply};
pub use request::{Decoder, ProtocolError, encode_request};
