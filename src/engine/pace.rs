//! How many commands are timed together.
//!
//! A look at the clock takes some 10 ns, and what hangs on it as much again: of a command that comes alone that is nothing,
//! of one in a long pipeline a tenth. So commands of one kind that stand behind each other in a pipeline are timed
//! [`TOGETHER`] at a time. Nothing is missed by it where all of them together took less than what is to be kept; where they
//! took longer, the client's commands are timed one by one from then on.

/// Requests of one client in a batch from which on it is a long pipeline.
pub const LONG: usize = 8;
const TOGETHER: u32 = 8;

/// The commands that are being timed together.
#[derive(Debug)]
pub struct Pace {
    most: u32,
    /// Address of their row; 0 for none.
    row: usize,
    count: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { most: 1, row: 0, count: 0 }
    }
}

impl Pace {
    /// Whether commands are timed together from here on.
    pub fn set_long(&mut self, is_long: bool) {
        self.most = if is_long { TOGETHER } else { 1 };
    }

    #[inline]
    pub fn is_long(&self) -> bool {
        self.most > 1
    }

    /// Whether commands of another kind wait to be timed.
    #[inline]
    pub fn is_of_others(&self, row: usize) -> bool {
        self.row != 0 && self.row != row
    }

    /// One more; true if it is time to look at the clock.
    #[inline]
    pub fn add(&mut self, row: usize) -> bool {
        self.row = row;
        self.count += 1;
        self.count >= self.most
    }

    /// The row and the number of those that wait, who wait no more; 0 and 0 if there are none.
    pub fn take(&mut self) -> (usize, u32) {
        (std::mem::take(&mut self.row), std::mem::take(&mut self.count))
    }
}
