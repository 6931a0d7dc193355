//! The RDB format: reading every version from 1 on, writing the ones that today's servers load.
pub mod dump;
mod error;
mod event;
mod input;
pub mod kind;
mod object;
mod output;
pub mod packed;
mod primitive;
mod reader;
mod writer;

pub use error::{Cause, Error};
pub use event::{Checksum, Discard, Event, KeyHeader, Visitor};
pub use kind::{Header, Kind, Lineage};
pub use reader::{Options, Reader};
pub use writer::{KeyMeta, ObjectRef, Version, WriteError, WriteOptions, Writer};

#[cfg(test)]
mod corpus;
