//! The bar on stderr, for humans only: drawn where stderr is a terminal, silent everywhere else.
//!
//! A [`Progress`] counts the bytes that a reader hands out and tells the bar at most once per [`STEP`], so that the
//! bar costs nothing that a benchmark could see.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};

/// Bytes between two updates of the bar.
pub const STEP: u64 = 256 * 1024;

/// A reader that shows how far it has come.
#[derive(Debug)]
pub struct Progress<R> {
    inner: R,
    bar: Option<ProgressBar>,
    read: u64,
    told: u64,
}

impl<R: Read> Progress<R> {
    /// Wraps `inner`; `total` is its length in bytes where known, `what` is named in front of the bar.
    pub fn new(inner: R, total: Option<u64>, what: &str) -> Progress<R> {
        let bar = io::stderr().is_terminal().then(|| bar(total, what));
        Progress { inner, bar, read: 0, told: 0 }
    }

    /// Counts, and shows nothing: for data that goes to the same terminal.
    pub fn hidden(inner: R) -> Progress<R> {
        Progress { inner, bar: None, read: 0, told: 0 }
    }

    /// What is wrapped.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// Bytes handed out so far.
    pub fn read_bytes(&self) -> u64 {
        self.read
    }
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64; // usize fits
        if let Some(bar) = &self.bar
            && self.read - self.told >= STEP
        {
            self.told = self.read;
            bar.set_position(self.read);
        }
        Ok(count)
    }
}

impl<R: Seek> Seek for Progress<R> {
    /// The bar follows.
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        let offset = self.inner.seek(place)?;
        (self.read, self.told) = (offset, offset);
        Ok(offset)
    }
}

impl<R> Drop for Progress<R> {
    /// Whatever comes next on the terminal starts on a clean line.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>, what: &str) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}")
        }
        None => (ProgressBar::new_spinner(), "{prefix} {binary_bytes} {binary_bytes_per_sec}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.set_prefix(what.to_owned());
    // A template that does not parse would be our slip; the default style is then good enough.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_through_and_are_counted() {
        let mut reader = Progress::new(&b"0123456789"[..], Some(10), "test");
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        assert_eq!((out.as_slice(), reader.read_bytes()), (&b"0123456789"[..], 10));
    }
}
