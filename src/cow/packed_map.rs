//! A map from bytes to bytes (final mechanism follows).
#[derive(Clone, Debug, Default)]
pub struct PackedMap;
