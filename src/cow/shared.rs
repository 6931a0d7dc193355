//! A counted pointer to what clones share: an [`Arc`] that has no weak pointers, so that its owner learns without a locked
//! instruction that it is the only one. A write that walks down a tree asks that at every level.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// Shared ownership of a `T`; see the module. The `Arc` never leaves it, so nobody can make a weak pointer.
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Shared(Arc::new(value))
    }

    /// The value to change, if this is its only owner.
    #[inline]
    fn exclusive(&mut self) -> Option<&mut T> {
        if Arc::strong_count(&self.0) != 1 {
            return None;
        }
        // Pairs with the release with which the last other owner let go: what it read, it read before.
        fence(Ordering::Acquire);
        // SAFETY: the count is one and there are no weak pointers, so this is the only pointer to the value; another can
        // only be cloned from it, and it is borrowed exclusively for as long as the reference lives.
        Some(unsafe { &mut *Arc::as_ptr(&self.0).cast_mut() })
    }

    /// The value to change: it is copied first if there are other owners.
    #[inline]
    pub(super) fn make_mut(&mut self) -> &mut T
    where
        T: Clone,
    {
        if Arc::strong_count(&self.0) != 1 {
            self.0 = Arc::new(T::clone(&self.0));
        }
        self.exclusive().expect("what was just copied, or had one owner, has one")
    }

    /// The value, copied if there are other owners.
    pub(super) fn unwrap_or_clone(self) -> T
    where
        T: Clone,
    {
        Arc::unwrap_or_clone(self.0)
    }

    #[cfg(test)]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_owner_writes_in_place_and_one_of_several_writes_a_copy() {
        let mut first = Shared::new(vec![1]);
        let address = &raw const *first;
        first.make_mut().push(2);
        assert_eq!(&raw const *first, address);
        let second = first.clone();
        assert!(first.is_same(&second));
        first.make_mut().push(3);
        assert!(!first.is_same(&second));
        assert_eq!((&*first, &*second), (&vec![1, 2, 3], &vec![1, 2]));
        drop(second);
        assert_eq!(first.unwrap_or_clone(), [1, 2, 3]);
    }

    #[test]
    fn owners_on_other_threads_read_what_was_there_when_they_were_cloned() {
        let mut shared = Shared::new([0u64; 32]);
        for turn in 1..300 {
            let clone = shared.clone();
            let reader = std::thread::spawn(move || assert!(clone.iter().all(|word| *word == turn - 1)));
            shared.make_mut().fill(turn);
            reader.join().unwrap();
        }
    }
}
