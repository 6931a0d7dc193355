//! Writing behind a counted pointer that nobody shares, without the locked instructions of [`Arc::get_mut`] and
//! [`Arc::make_mut`]: they guard against a [`Weak`](std::sync::Weak) that becomes strong meanwhile, and the containers
//! here never make one. A write to a database's table passes three such pointers.

#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// What `arc` points to, for writing; `copy` makes it anew where it is shared. No `Weak` may ever have been made of it.
#[inline]
pub(super) fn exclusive<T: ?Sized>(arc: &mut Arc<T>, copy: impl FnOnce(&T) -> Arc<T>) -> &mut T {
    if Arc::strong_count(arc) != 1 {
        *arc = copy(arc);
    }
    debug_assert_eq!((Arc::strong_count(arc), Arc::weak_count(arc)), (1, 0));
    // Whoever shared it before and let go of it, in whatever thread, has done so with a release.
    fence(Ordering::Acquire);
    // SAFETY: this is the only counted pointer to it, held exclusively for as long as the reference lives, so that none
    // can be made; and there is no weak one that could become another.
    unsafe { &mut *Arc::as_ptr(arc).cast_mut() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_copied_and_what_is_not_is_written_where_it_lies() {
        let mut own: Arc<[u64]> = Arc::from(&[1, 2, 3][..]);
        let place = own.as_ptr();
        exclusive(&mut own, |_| unreachable!("nobody shares it"))[0] = 7;
        assert_eq!((own.as_ptr(), &own[..]), (place, &[7, 2, 3][..]));
        let clone = Arc::clone(&own);
        exclusive(&mut own, |shared| Arc::from(shared))[1] = 8;
        assert_eq!((&own[..], &clone[..]), (&[7, 8, 3][..], &[7, 2, 3][..]));
        drop(clone);
        let place = own.as_ptr();
        exclusive(&mut own, |_| unreachable!("nobody shares it any more"))[2] = 9;
        assert_eq!((own.as_ptr(), &own[..]), (place, &[7, 8, 9][..]));
    }

    #[test]
    fn a_thread_that_lets_go_has_read_before_the_write() {
        let mut own: Arc<[u64]> = Arc::from(&[0; 64][..]);
        for round in 1..=2_000 {
            let shared = Arc::clone(&own);
            let reading = std::thread::spawn(move || shared.iter().all(|&number| number == round - 1));
            // Sometimes copied, sometimes not: the other thread comes and goes.
            exclusive(&mut own, |shared| Arc::from(shared)).fill(round);
            assert!(reading.join().unwrap());
        }
    }
}
