//! placeholder
pub mod params;
