//! CLIENT PAUSE: until when clients' commands are held.

use std::time::Instant;

/// Which commands are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// Those that write, or that replicas would be sent.
    Writes,
    All,
}

/// A pause, if there is one.
#[derive(Debug, Default)]
pub struct Pause(Option<(Held, Instant)>);

impl Pause {
    /// Begins one, or makes the one there is longer and wider: never shorter, nor narrower.
    pub fn begin(&mut self, held: Held, until: Instant, now: Instant) {
        let running = self.until(now).and(self.0);
        self.0 = Some(match running {
            Some((was_held, was_until)) => (was_held.max(held), was_until.max(until)),
            None => (held, until),
        });
    }

    pub fn end(&mut self) {
        self.0 = None;
    }

    /// Whether there was one since the last end that was asked for.
    #[inline]
    pub fn is_off(&self) -> bool {
        self.0.is_none()
    }

    /// What is held now, if anything.
    pub fn held(&self, now: Instant) -> Option<Held> {
        self.0.filter(|(_, until)| now < *until).map(|(held, _)| held)
    }

    /// When the one that runs ends.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.0.map(|(_, until)| until).filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_pause_grows_and_ends_by_itself() {
        let (mut pause, start) = (Pause::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pause.held(start), None);
        pause.begin(Held::All, after(2), start);
        pause.begin(Held::Writes, after(1), start);
        assert_eq!((pause.held(after(1)), pause.until(after(1))), (Some(Held::All), Some(after(2))));
        assert_eq!(pause.held(after(2)), None);
        pause.begin(Held::Writes, after(4), after(3));
        assert_eq!(pause.held(after(3)), Some(Held::Writes), "the one before is over");
        pause.end();
        assert_eq!(pause.held(after(3)), None);
    }
}
