//! DUMP payloads.
use super::{Error, Version, WriteError};
use crate::value::{Limits, Object};

/// Encodes a value.
pub fn encode(_value: &Object, _version: Version) -> Result<Vec<u8>, WriteError> {
    Ok(Vec::new())
}
/// Decodes a payload. `None` where it is a collection without elements.
pub fn decode(_payload: &[u8], _limits: &Limits) -> Result<Option<Object>, Error> {
    Ok(None)
}
