//! What `rdbtool dump` can write: one file per [`Format`]; the commands, which aoftool writes too, are in
//! [`ironkeep::cli::format`].

mod csv;
mod json;
mod keys;
mod members;
mod ndjson;
mod record;
mod stream;
mod template;
mod text;
mod value;

pub use csv::Csv;
pub use ironkeep::cli::format::{Commands, Format, Sink, Spool, Style};
pub use json::JsonArray;
pub use keys::Keys;
pub use ndjson::JsonLines;
pub use record::Records;
pub use template::{Lines, Template};
pub use text::Listing;
