//! Values of modules, kept opaque: they can be named, counted and written back, not looked into.

use std::sync::Arc;

/// A module's value as the RDB holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The module's 64-bit id: nine characters of six bits, then ten bits of encoding version.
    pub id: u64,
    /// The module opcodes that follow the id, up to and including the EOF opcode (a zero).
    pub raw: Arc<Vec<u8>>,
}

impl Module {
    /// The nine-character name that the id carries.
    ///
    /// ```
    /// use ironkeep::value::Module;
    /// let module = Module { id: 0, raw: Default::default() };
    /// assert_eq!(module.name(), "AAAAAAAAA");
    /// ```
    pub fn name(&self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // Six bits index an alphabet of 64, so the cast cannot lose anything.
        (0..9).map(|place| char::from(ALPHABET[(self.id >> (58 - 6 * place) & 63) as usize])).collect()
    }

    /// The encoding version that the id carries, 0 to 1023.
    pub fn encoding_version(&self) -> u16 {
        // Ten bits fit.
        (self.id & 1023) as u16
    }

    /// Bytes held, approximately.
    pub fn footprint(&self) -> usize {
        self.raw.capacity() + 48
    }
}
