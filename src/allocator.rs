//! The allocator of the binaries: jemalloc, with size classes eight bytes apart, and what it says of itself.
//!
//! `.cargo/config.toml` has it built with a quantum of 8 bytes instead of 16, which saves a tenth of the memory of small
//! keys. Blocks are then aligned to 8 bytes only, so every larger alignment is asked for by name; that is right with the
//! usual quantum too. (tikv-jemallocator leaves it out up to 16, and SSE loads crash.)

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{CStr, c_int, c_void};

use tikv_jemalloc_sys as jemalloc;

/// What every block is aligned to.
const QUANTUM: usize = 8;

/// jemalloc as the global allocator.
#[derive(Debug)]
pub struct Jemalloc;

/// What jemalloc needs to be told of a layout.
fn flags(layout: Layout) -> c_int {
    if layout.align() <= QUANTUM { 0 } else { jemalloc::MALLOCX_ALIGN(layout.align()) }
}

// SAFETY: the sizes are not zero, as the trait demands of its callers; a block is given back with the flags and the size
// it was taken with; jemalloc neither unwinds nor panics.
unsafe impl GlobalAlloc for Jemalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = match flags(layout) {
            0 => unsafe { jemalloc::malloc(layout.size()) },
            flags => unsafe { jemalloc::mallocx(layout.size(), flags) },
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = match flags(layout) {
            0 => unsafe { jemalloc::calloc(1, layout.size()) },
            flags => unsafe { jemalloc::mallocx(layout.size(), flags | jemalloc::MALLOCX_ZERO) },
        };
        block.cast()
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let block: *mut c_void = block.cast();
        let moved = match flags(layout) {
            0 => unsafe { jemalloc::realloc(block, size) },
            flags => unsafe { jemalloc::rallocx(block, size, flags) },
        };
        moved.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { jemalloc::sdallocx(block.cast(), layout.size(), flags(layout)) }
    }
}

/// Bytes that a block of `size` bytes really takes.
pub fn block_size(size: usize) -> usize {
    if size == 0 {
        return 0;
    }
    // SAFETY: it only computes.
    unsafe { jemalloc::nallocx(size, 0) }
}

/// What the allocator holds, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blocks that are in use.
    pub allocated: u64,
    /// Pages in which blocks are in use.
    pub active: u64,
    /// Pages that are mapped and touched, its own bookkeeping included.
    pub resident: u64,
}

/// What the allocator holds now: a few microseconds. All zero where it is not the global allocator.
pub fn usage() -> Usage {
    let mut epoch = 1u64;
    // SAFETY: the name is jemalloc's, and its value a u64.
    unsafe { control(c"epoch", &mut epoch, true) };
    Usage { allocated: count(c"stats.allocated"), active: count(c"stats.active"), resident: count(c"stats.resident") }
}

/// Bytes that this thread has taken since it began, less those that it has given back: two loads. It goes below zero
/// where the thread frees what others took. Always zero where jemalloc is not the global allocator.
pub fn thread_balance() -> i64 {
    thread_local! {
        /// Where jemalloc counts the bytes that this thread takes, and those that it gives back.
        static COUNTERS: (*const u64, *const u64) = (counter(c"thread.allocatedp"), counter(c"thread.deallocatedp"));
    }
    COUNTERS.with(|&(taken, given)| {
        if taken.is_null() || given.is_null() {
            return 0;
        }
        // SAFETY: jemalloc keeps the counters for as long as the thread lives, and only this thread writes to them.
        let (taken, given) = unsafe { (taken.read(), given.read()) };
        taken.wrapping_sub(given) as i64 // a difference of two counts that both may wrap
    })
}

fn counter(name: &CStr) -> *const u64 {
    let mut address: *const u64 = std::ptr::null();
    // SAFETY: the names under thread that end in p are addresses of a u64.
    unsafe { control(name, &mut address, false) };
    address
}

/// Whether what this program takes comes from jemalloc: in the binaries of this package, not in tests of the library.
pub fn is_global() -> bool {
    const SIZE: usize = 1 << 16;
    let before = thread_balance();
    let block = std::hint::black_box(vec![0u8; SIZE]);
    let taken = thread_balance() - before;
    drop(block);
    taken >= SIZE as i64 // a constant
}

/// Lets threads of jemalloc's own give unused pages back, instead of whoever frees the last block in them.
pub fn purge_in_background() {
    let mut on = true;
    // SAFETY: the name is jemalloc's, and its value a bool.
    unsafe { control(c"background_thread", &mut on, true) };
}

/// Gives all unused pages back to the kernel now.
pub fn purge() {
    const ALL_ARENAS: &CStr = c"arena.4096.purge"; // MALLCTL_ARENAS_ALL
    let nothing = std::ptr::null_mut();
    // SAFETY: the name is jemalloc's; it takes and gives no value.
    unsafe { jemalloc::mallctl(ALL_ARENAS.as_ptr(), nothing, std::ptr::null_mut(), std::ptr::null_mut(), 0) };
}

/// The arena that this thread's blocks come from; 0 where jemalloc is not the global allocator.
pub fn arena() -> u32 {
    let mut index = 0u32;
    // SAFETY: the name is jemalloc's, and its value an unsigned.
    unsafe { control(c"thread.arena", &mut index, false) };
    index
}

/// Has this thread's blocks come from an arena that [`arena`] named on another thread: what a helping thread makes then
/// lies beside what that thread makes, and its space is used again by it.
pub fn use_arena(mut index: u32) {
    // SAFETY: as in `arena`; an index that jemalloc does not know changes nothing.
    unsafe { control(c"thread.arena", &mut index, true) };
}

fn count(name: &CStr) -> u64 {
    let mut value = 0usize;
    // SAFETY: the counts of jemalloc are size_t.
    unsafe { control(name, &mut value, false) };
    value as u64 // usize has 64 bits on what we build for
}

/// Reads, or writes, a value of jemalloc's; leaves it as it is where there is none of that name.
///
/// # Safety
/// `T` must be the type that jemalloc documents for `name`.
unsafe fn control<T>(name: &CStr, value: &mut T, is_write: bool) {
    let mut size = size_of::<T>();
    let value: *mut c_void = std::ptr::from_mut(value).cast();
    unsafe {
        if is_write {
            jemalloc::mallctl(name.as_ptr(), std::ptr::null_mut(), std::ptr::null_mut(), value, size);
        } else {
            jemalloc::mallctl(name.as_ptr(), value, &mut size, std::ptr::null_mut(), 0);
        }
    }
}

/// What the library's own tests allocate with: the system's allocator, counting what each thread takes.
#[cfg(test)]
pub(crate) mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    struct Counting;

    #[global_allocator]
    static COUNTING: Counting = Counting;

    thread_local! {
        static BLOCKS: Cell<u64> = const { Cell::new(0) };
    }

    /// Blocks that this thread has taken so far, a block that was moved to grow among them.
    pub(crate) fn blocks() -> u64 {
        BLOCKS.get()
    }

    // SAFETY: everything is passed on to the system's allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let _ = BLOCKS.try_with(|blocks| blocks.set(blocks.get() + 1)); // a thread that ends has none
            unsafe { System.alloc(layout) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            let _ = BLOCKS.try_with(|blocks| blocks.set(blocks.get() + 1)); // as above
            unsafe { System.realloc(block, layout, size) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            unsafe { System.dealloc(block, layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_as_asked_and_keep_what_they_hold() {
        for align in [1, 8, 16, 64, 4096] {
            for size in [1, 24, 100, 5_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout has a size, and the block is given back with the layout that it then has.
                unsafe {
                    let block = Jemalloc.alloc_zeroed(layout);
                    assert_eq!((block.addr() % align, *block, *block.add(size - 1)), (0, 0, 0));
                    block.write(7);
                    let block = Jemalloc.realloc(block, layout, size * 3);
                    assert_eq!((block.addr() % align, *block), (0, 7));
                    Jemalloc.dealloc(block, Layout::from_size_align(size * 3, align).unwrap());
                }
            }
        }
    }

    #[test]
    fn the_balance_of_a_thread_follows_what_it_takes_and_gives_back() {
        let layout = Layout::from_size_align(1 << 20, 8).unwrap();
        let before = thread_balance();
        // SAFETY: as above.
        let block = unsafe { Jemalloc.alloc(layout) };
        let during = thread_balance() - before;
        unsafe { Jemalloc.dealloc(block, layout) };
        assert_eq!((during, thread_balance() - before), (1 << 20, 0));
        assert!(!is_global(), "the library's tests run on the allocator of the system");
    }

    #[test]
    fn a_thread_takes_its_blocks_from_the_arena_it_is_given() {
        let arenas = [arena(), std::thread::spawn(arena).join().unwrap()];
        for wanted in arenas {
            let found = std::thread::spawn(move || {
                use_arena(wanted);
                arena()
            });
            assert_eq!(found.join().unwrap(), wanted);
        }
    }

    #[test]
    fn usage_follows_what_is_taken_and_classes_lie_eight_bytes_apart() {
        let layout = Layout::from_size_align(64 << 20, 8).unwrap();
        let before = usage();
        // SAFETY: as above.
        let block = unsafe { Jemalloc.alloc(layout) };
        let during = usage();
        unsafe { Jemalloc.dealloc(block, layout) };
        let grown = during.allocated - before.allocated; // less what threads have in their caches
        assert!(grown >= 60 << 20, "{before:?} {during:?}");
        assert!(usage().allocated < during.allocated - (60 << 20));
        assert_eq!((block_size(0), block_size(50), block_size(56), block_size(57)), (0, 56, 56, 64));
    }
}
