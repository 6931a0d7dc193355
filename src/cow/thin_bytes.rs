//! A byte buffer behind one thin pointer: eight bytes where it is held, instead of the 24 of a `Vec`.
//!
//! ```text
//! len u32 | capacity u32 | gap u32 | gap | bytes | room
//! ```
//!
//! Millions of collections are such buffers, so what one costs beside its bytes counts. The capacity, gap and room included,
//! fills a size class of the allocator (up to 32 KB, and by the same steps beyond): what is left over is what the allocator
//! would round up to anyway. A buffer that shrinks to less than half gives the rest back.
//!
//! With a gap an edit moves the bytes on its shorter side. What is left over stands on the side that has last asked for more,
//! so that who adds and takes away at one end, or at both, moves all of it once in many times. The price is that reading
//! waits for the header, so that not every buffer has a gap.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

/// What stands before the bytes.
#[repr(C)]
struct Header {
    len: u32,
    capacity: u32,
    gap: u32,
}

const HEADER: usize = size_of::<Header>();
/// Up to here the size classes of the allocator lie eight bytes apart, beyond there are four for each doubling.
const FINE_CLASSES: usize = 64;

/// Bytes, owned, with a gap in front of them or without; see the module. At most 4 GB, less a little.
pub struct ThinBytes<const HAS_GAP: bool = false> {
    block: NonNull<Header>,
    owned: PhantomData<Box<[u8]>>,
}

// SAFETY: it owns plain bytes, and hands them out as `&self` and `&mut self` allow.
unsafe impl<const HAS_GAP: bool> Send for ThinBytes<HAS_GAP> {}
// SAFETY: as above.
unsafe impl<const HAS_GAP: bool> Sync for ThinBytes<HAS_GAP> {}

impl<const HAS_GAP: bool> ThinBytes<HAS_GAP> {
    /// No bytes, room for `len`.
    fn with_room(len: usize) -> Self {
        let size = class_of(HEADER + len);
        let layout = layout_of(size);
        // SAFETY: the size is not zero.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }.cast::<Header>()) else { handle_alloc_error(layout) };
        // SAFETY: the block has room for a header, and is aligned for it.
        unsafe { block.write(Header { len: 0, capacity: capacity_of(size), gap: 0 }) };
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
        let edit = Edit { behind: old - range.end, range, len };
        let new = edit.new_len();
        let is_front = HAS_GAP && edit.is_nearer_to_front();
        if new > self.capacity() || class_of(HEADER + new) <= (HEADER + self.capacity()) / 2 {
            self.replace_elsewhere(&edit, is_front);
        } else {
            self.replace_here(&edit, is_front);
        }
        &mut self[edit.range.start..edit.range.start + len]
    }

    /// In the block as it is, which has the room.
    fn replace_here(&mut self, edit: &Edit, is_front: bool) {
        let (old, new, gap) = (self.len(), edit.new_len(), self.gap());
        let left_over = self.capacity() - new;
        let room = self.capacity() - gap - old;
        // Where the bytes in front of the edit, or behind it, stay as they are, unless there is too little left over on that
        // side: then all that is left over comes there.
        let gap = match (is_front, gap + old >= new, new <= old + room) {
            (true, true, _) => gap + old - new,
            (true, false, _) => left_over,
            (false, _, true) => gap,
            (false, _, false) => 0,
        };
        // SAFETY: both parts lie within the capacity, where they are and where they come to. The one that makes way for the
        // other goes first.
        unsafe {
            let (from, to) = (self.start(), self.room().add(gap));
            if to <= from {
                edit.move_front(from, to);
                edit.move_rest(from, to);
            } else {
                edit.move_rest(from, to);
                edit.move_front(from, to);
            }
        }
        self.finish(edit, gap);
    }

    /// In a block of a fitting size.
    fn replace_elsewhere(&mut self, edit: &Edit, is_front: bool) {
        let mut other = Self::with_room(edit.new_len());
        let gap = if is_front { other.capacity() - edit.new_len() } else { 0 };
        // SAFETY: both parts have room in the other block.
        unsafe {
            let to = other.room().add(gap);
            edit.move_front(self.start(), to);
            edit.move_rest(self.start(), to);
        }
        other.finish(edit, gap);
        *self = other;
    }

    /// Writes what the edit puts in, its parts being where they belong.
    fn finish(&mut self, edit: &Edit, gap: usize) {
        debug_assert!(gap + edit.new_len() <= self.capacity());
        // SAFETY: the block begins with its header; what is within the capacity fits 32 bits. The zeros lie between the parts
        // that were moved, so that all of the new length is written.
        unsafe {
            let header = self.block.as_ptr();
            ((*header).len, (*header).gap) = (edit.new_len() as u32, gap as u32);
            self.start().add(edit.range.start).write_bytes(0, edit.len);
        }
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

    fn gap(&self) -> usize {
        if HAS_GAP { self.header().gap as usize } else { 0 } // usize has 64 bits on what we build for
    }

    fn header(&self) -> &Header {
        // SAFETY: the block begins with its header.
        unsafe { self.block.as_ref() }
    }

    /// Where gap, bytes and room begin.
    fn room(&self) -> *mut u8 {
        // SAFETY: the block reaches at least to the end of its header.
        unsafe { self.block.as_ptr().cast::<u8>().add(HEADER) }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: the gap lies within the capacity.
        unsafe { self.room().add(self.gap()) }
    }
}

impl<const HAS_GAP: bool> Drop for ThinBytes<HAS_GAP> {
    fn drop(&mut self) {
        let layout = layout_of(HEADER + self.capacity());
        // SAFETY: the block was taken with the layout that its capacity gives.
        unsafe { dealloc(self.block.as_ptr().cast(), layout) }
    }
}

impl<const HAS_GAP: bool> Deref for ThinBytes<HAS_GAP> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes were written, and are lent as long as the buffer is.
        unsafe { std::slice::from_raw_parts(self.start(), self.header().len as usize) }
    }
}

impl<const HAS_GAP: bool> DerefMut for ThinBytes<HAS_GAP> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.header().len as usize) }
    }
}

impl<const HAS_GAP: bool> From<&[u8]> for ThinBytes<HAS_GAP> {
    fn from(bytes: &[u8]) -> Self {
        let thin = ThinBytes::with_room(bytes.len());
        // SAFETY: there is room for as many, and a new block overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), thin.start(), bytes.len()) };
        // SAFETY: the block begins with its header. A length within the capacity fits 32 bits.
        unsafe { (*thin.block.as_ptr()).len = bytes.len() as u32 };
        thin
    }
}

impl<const HAS_GAP: bool> Clone for ThinBytes<HAS_GAP> {
    fn clone(&self) -> Self {
        ThinBytes::from(&**self)
    }
}

impl<const HAS_GAP: bool> PartialEq for ThinBytes<HAS_GAP> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<const HAS_GAP: bool> Eq for ThinBytes<HAS_GAP> {}

impl<const HAS_GAP: bool> fmt::Debug for ThinBytes<HAS_GAP> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(out)
    }
}

/// What [`ThinBytes::replace`] does.
struct Edit {
    range: Range<usize>,
    /// Bytes behind the range.
    behind: usize,
    /// Bytes that it puts in.
    len: usize,
}

impl Edit {
    fn new_len(&self) -> usize {
        self.range.start + self.len + self.behind
    }

    fn is_nearer_to_front(&self) -> bool {
        self.range.start < self.behind
    }

    /// Moves the bytes in front of the edit, of a buffer that begins at `from` and will begin at `to`.
    ///
    /// # Safety
    ///
    /// They are at `from`, and have room at `to`.
    unsafe fn move_front(&self, from: *const u8, to: *mut u8) {
        if from != to {
            // SAFETY: as the caller says.
            unsafe { std::ptr::copy(from, to, self.range.start) };
        }
    }

    /// Moves the bytes behind the edit.
    ///
    /// # Safety
    ///
    /// As for [`Edit::move_front`].
    unsafe fn move_rest(&self, from: *const u8, to: *mut u8) {
        // SAFETY: as the caller says.
        unsafe {
            let (from, to) = (from.add(self.range.end), to.add(self.range.start + self.len));
            if from != to {
                std::ptr::copy(from, to, self.behind);
            }
        }
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
        behaves_as_a_vector::<false>();
        behaves_as_a_vector::<true>();
    }

    fn behaves_as_a_vector<const HAS_GAP: bool>() {
        let mut rng = fastrand::Rng::with_seed(4);
        let (mut thin, mut model) = (ThinBytes::<HAS_GAP>::from(&b"begin"[..]), b"begin".to_vec());
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

    /// How often the far end changes its place while so many times three bytes come or go at the other one.
    fn moves(thin: &mut ThinBytes<true>, count: usize, is_front: bool, is_coming: bool) -> usize {
        let mut moved = 0;
        for _ in 0..count {
            let far_end = |thin: &ThinBytes<true>| if is_front { thin.as_ptr_range().end } else { thin.as_ptr() };
            let before = far_end(thin);
            let (gone, come) = if is_coming { (0, 3) } else { (3, 0) };
            let at = if is_front { 0 } else { thin.len() - gone };
            thin.replace(at..at + gone, come);
            moved += usize::from(far_end(thin) != before);
        }
        moved
    }

    #[test]
    fn what_is_left_over_stands_where_it_is_asked_for() {
        let mut thin = ThinBytes::<true>::zeroed(1000);
        assert!((1..=9).contains(&moves(&mut thin, 1000, true, true)), "a block is filled from its front");
        assert_eq!(moves(&mut thin, 100, true, false) + moves(&mut thin, 100, true, true), 0, "and there again");
        assert!((1..=5).contains(&moves(&mut thin, 1000, false, true)), "from its end");
        assert_eq!(moves(&mut thin, 100, false, false) + moves(&mut thin, 100, false, true), 0);
        assert_eq!(moves(&mut thin, 100, false, false) + moves(&mut thin, 200, true, false), 0, "what goes makes room");
        assert_eq!(moves(&mut thin, 100, false, true) + moves(&mut thin, 200, true, true), 0, "at both ends");
        assert_eq!(moves(&mut thin, 1200, true, false), 1, "when half of the block is enough");
        assert_eq!(thin.len(), 3400);
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
