//! A byte buffer behind one thin pointer: eight bytes where it is held, instead of the 24 of a `Vec`.
//!
//! ```text
//! len u32 | capacity u32 | bytes ...
//! ```
//!
//! Millions of collections are such buffers, so what one costs beside its bytes counts. The capacity fills a size class
//! of the allocator (up to 32 KB, and by the same steps beyond): what is left over is what the allocator would round up to
//! anyway. A buffer that shrinks to less than half gives the rest back.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

/// What stands before the bytes.
#[repr(C)]
struct Header {
    len: u32,
    capacity: u32,
}

const HEADER: usize = size_of::<Header>();
/// Up to here the size classes of the allocator lie eight bytes apart, beyond there are four for each doubling.
const FINE_CLASSES: usize = 64;

/// Bytes, owned; see the module. At most 4 GB, less a little.
pub struct ThinBytes {
    block: NonNull<Header>,
    owned: PhantomData<Box<[u8]>>,
}

// SAFETY: it owns plain bytes, and hands them out as `&self` and `&mut self` allow.
unsafe impl Send for ThinBytes {}
// SAFETY: as above.
unsafe impl Sync for ThinBytes {}

impl ThinBytes {
    /// No bytes, room for `len`.
    fn with_room(len: usize) -> Self {
        let size = class_of(HEADER + len);
        let layout = layout_of(size);
        // SAFETY: the size is not zero.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }.cast::<Header>()) else { handle_alloc_error(layout) };
        // SAFETY: the block has room for a header, and is aligned for it.
        unsafe { block.write(Header { len: 0, capacity: capacity_of(size) }) };
        ThinBytes { block, owned: PhantomData }
    }

    /// So many zeros.
    pub fn zeroed(len: usize) -> Self {
        let mut thin = ThinBytes::with_room(len);
        thin.replace(0..0, len);
        thin
    }

    /// How many bytes it has room for.
    pub fn capacity(&self) -> usize {
        self.header().capacity as usize // usize has 64 bits on what we build for
    }

    /// Bytes on the heap.
    pub fn footprint(&self) -> usize {
        HEADER + self.capacity()
    }

    /// Takes the bytes of `range` out and puts `len` zeros there, which it returns.
    pub fn replace(&mut self, range: Range<usize>, len: usize) -> &mut [u8] {
        let old = self.len();
        assert!(range.start <= range.end && range.end <= old, "a range within the bytes is replaced");
        let new = old - (range.end - range.start) + len;
        if new > self.capacity() {
            self.resize_block(new);
        }
        // SAFETY: `new` bytes have room: what is behind the range moves to behind the zeros, both within the capacity, and
        // all up to `new` is then written.
        unsafe {
            let start = self.start().add(range.start);
            std::ptr::copy(self.start().add(range.end), start.add(len), old - range.end);
            start.write_bytes(0, len);
        }
        self.set_len(new);
        if class_of(HEADER + new) <= (HEADER + self.capacity()) / 2 {
            self.resize_block(new);
        }
        &mut self[range.start..range.start + len]
    }

    /// Keeps the first `len` bytes, if there are more.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.replace(len..self.len(), 0);
        }
    }

    /// Appends.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.len();
        self.replace(end..end, bytes.len()).copy_from_slice(bytes);
    }

    fn resize_block(&mut self, len: usize) {
        let size = class_of(HEADER + len);
        let new = layout_of(size);
        let old = layout_of(HEADER + self.capacity());
        // SAFETY: the block was taken with the layout that its capacity gives, and the new size is not zero.
        let moved = unsafe { realloc(self.block.as_ptr().cast(), old, new.size()) };
        let Some(block) = NonNull::new(moved.cast::<Header>()) else { handle_alloc_error(new) };
        self.block = block;
        // SAFETY: the block begins with its header.
        unsafe { (*block.as_ptr()).capacity = capacity_of(size) };
    }

    fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.capacity());
        // SAFETY: the block begins with its header. A length within the capacity fits 32 bits.
        unsafe { (*self.block.as_ptr()).len = len as u32 };
    }

    fn header(&self) -> &Header {
        // SAFETY: the block begins with its header.
        unsafe { self.block.as_ref() }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: the block reaches at least to the end of its header.
        unsafe { self.block.as_ptr().cast::<u8>().add(HEADER) }
    }
}

impl Drop for ThinBytes {
    fn drop(&mut self) {
        let layout = layout_of(HEADER + self.capacity());
        // SAFETY: the block was taken with the layout that its capacity gives.
        unsafe { dealloc(self.block.as_ptr().cast(), layout) }
    }
}

impl Deref for ThinBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes were written, and are lent as long as the buffer is.
        unsafe { std::slice::from_raw_parts(self.start(), self.header().len as usize) }
    }
}

impl DerefMut for ThinBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.header().len as usize) }
    }
}

impl From<&[u8]> for ThinBytes {
    fn from(bytes: &[u8]) -> Self {
        let mut thin = ThinBytes::with_room(bytes.len());
        // SAFETY: there is room for as many, and a new block overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), thin.start(), bytes.len()) };
        thin.set_len(bytes.len());
        thin
    }
}

impl Clone for ThinBytes {
    fn clone(&self) -> Self {
        ThinBytes::from(&**self)
    }
}

impl PartialEq for ThinBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ThinBytes {}

impl fmt::Debug for ThinBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(out)
    }
}

/// The allocator's size class for `size` bytes.
fn class_of(size: usize) -> usize {
    if size <= FINE_CLASSES {
        return size.next_multiple_of(8);
    }
    size.next_multiple_of(1 << ((size - 1).ilog2() - 2))
}

/// The capacity of a block of `size` bytes.
fn capacity_of(size: usize) -> u32 {
    u32::try_from(size - HEADER).expect("packed values stay far below 4 GB")
}

fn layout_of(size: usize) -> Layout {
    Layout::from_size_align(size, align_of::<Header>()).expect("packed values stay far below 4 GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_behaves_as_a_vector() {
        let mut rng = fastrand::Rng::with_seed(4);
        let (mut thin, mut model) = (ThinBytes::from(&b"begin"[..]), b"begin".to_vec());
        for step in 0..20_000 {
            let (a, b) = (rng.usize(..=model.len()), rng.usize(..=model.len()));
            let range = a.min(b)..a.max(b).min(a.min(b) + rng.usize(..200));
            let piece = vec![rng.u8(..); rng.usize(..if step % 5000 < 3000 { 150 } else { 20 })];
            thin.replace(range.clone(), piece.len()).copy_from_slice(&piece);
            model.splice(range, piece.iter().copied());
            if rng.u8(..) == 0 {
                thin.truncate(model.len() / 3);
                model.truncate(model.len() / 3);
            }
            thin.extend_from_slice(b"!");
            model.push(b'!');
            assert_eq!(*thin, *model);
            let copy = thin.clone();
            assert_eq!((&copy, copy.footprint()), (&thin, class_of(HEADER + model.len())));
            assert!(thin.footprint() <= 2 * class_of(HEADER + model.len()));
        }
    }

    #[test]
    fn classes_are_those_of_the_allocator() {
        for (size, class) in [(8, 8), (9, 16), (57, 64), (65, 80), (81, 96), (128, 128), (129, 160), (8193, 10240)] {
            assert_eq!(class_of(size), class);
        }
        // Beyond these the allocator gives whole pages; the same steps keep growth cheap there.
        for size in (1..32_000).step_by(7) {
            assert_eq!(class_of(size), crate::allocator::block_size(size));
        }
    }
}
