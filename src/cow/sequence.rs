//! Chunks in order (final mechanism follows).
/// A piece of a [`Sequence`].
pub trait Chunk: Clone {
    /// How many things it holds.
    fn weight(&self) -> u64;
}
/// Chunks in order.
#[derive(Clone, Debug, Default)]
pub struct Sequence<C>(Vec<C>);
