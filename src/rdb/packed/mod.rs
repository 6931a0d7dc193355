//! The packed layouts that today's servers no longer write: read here, checked as they are walked, and the ziplist
//! written for older ones. Their successors, listpack and intset, are values themselves and live in `value::packed`.

pub mod ziplist;
pub mod zipmap;

pub use ziplist::{Ziplist, ZiplistBuilder};
pub use zipmap::Zipmap;
