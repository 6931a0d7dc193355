//! The append-only log: the format, once. Readers here never write; what a broken ending means is a [`Verdict`] that
//! the caller acts on.
//!
//! ```text
//! dir/appendonlydir/                          since Redis 7.0: several files, in the order of the manifest
//!   appendonly.aof.manifest                   file appendonly.aof.2.base.rdb seq 2 type b
//!   appendonly.aof.2.base.rdb                 file appendonly.aof.2.incr.aof seq 2 type i
//!   appendonly.aof.2.incr.aof
//! dir/appendonly.aof                          before: one file
//!
//! file       = [ RDB ] *( annotation / record )         an RDB in front: it begins with REDIS or VALKEY
//! record     = "*" count CRLF  1*( "$" len CRLF len-bytes CRLF )
//! annotation = "#" anything LF                          1024 bytes at most; "#TS:<unix seconds>" is a time, and ours
//!                                                       prove the records, see seal
//! unit       = a record, or MULTI, records, EXEC        what takes effect as a whole or not at all
//! ```
//!
//! - [`manifest`] and [`naming`]: which files, and how the next ones are called.
//! - [`log`]: the files in order, for a data folder, a manifest, or a single file.
//! - [`record`]: bytes to records and annotations, each with its offset. [`unit`]: records to units.
//! - [`reader`]: both, for one file. It ends with `None` after a whole unit, or with a [`Fault`].
//! - [`seal`]: the annotations by which a file of ours proves what it holds; [`sealer`] makes them, [`verifier`] follows
//!   them, [`evidence`] asks them about a fault.
//! - [`mod@check`]: all of it for a whole log, as a server would read it at its start.
//! - [`verdict`]: whether a fault is a torn tail, which a start may cut, or damage, which stops it.
//!
//! ```
//! use ironkeep::aof::{Fault, Reader};
//! let mut reader = Reader::new(&b"*1\r\n$8\r\nFLUSHALL\r\n*1\r\n$4\r\nPI"[..]);
//! let item = reader.next().unwrap().unwrap();
//! assert_eq!(item.record().unwrap().arguments[0], b"FLUSHALL");
//! drop(item);
//! assert!(matches!(reader.next(), Err(Fault::Cut { record: 18, end: 28 })));
//! assert_eq!(reader.whole_until(), 18);
//! ```

pub mod check;
mod evidence;
pub mod fault;
pub mod log;
pub mod manifest;
pub mod naming;
pub mod reader;
pub mod record;
pub mod seal;
pub mod sealer;
pub mod unit;
pub mod verdict;
pub mod verifier;
pub mod writer;

pub use check::{FileReport, Observer, RdbDepth, RdbPart, Report, check};
pub use fault::Fault;
pub use log::{Log, LogError, LogFile, Role};
pub use manifest::{Entry, FileType, Manifest, ManifestError, Past, Replaced};
pub use reader::{Reached, Reader, Sealing};
pub use record::{Annotation, Item, Record, Scanner};
pub use sealer::{OpenSpan, Sealer};
pub use unit::{Place, Units};
pub use verdict::{Verdict, judge};
pub use verifier::{HistoryEnd, Verifier};
