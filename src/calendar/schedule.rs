//! Cron patterns: when something is due next.
//!
//! `minute hour day month weekday`, with names, steps, lists, `L`, `#`, a sixth field in front for seconds, and `@daily` and
//! its kin. Where clocks are set forward a fixed time that does not exist comes right behind the gap, and where they are
//! set back one that exists twice comes once, so that such days have neither none nor two.

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::str::FromStr;

/// Several patterns in one time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    patterns: Vec<Cron>,
    zone: TimeZone,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { patterns: Vec::new(), zone: TimeZone::UTC }
    }
}

impl Schedule {
    /// The patterns of a text in which `;` stands between them; none in an empty one.
    ///
    /// ```
    /// use ironkeep::calendar::{Schedule, zone};
    /// let schedule = Schedule::parse("0 3 * * *; 30 12 * * SUN", zone("Europe/Berlin")?)?;
    /// let noon = 1_795_000_000_000; // 2026-11-18, 12:06:40 in Berlin
    /// assert_eq!(schedule.next_after(noon), Some(1_795_053_600_000)); // at three in the night
    /// assert!(Schedule::parse("0 25 * * *", zone("UTC")?).is_err());
    /// # Ok::<(), String>(())
    /// ```
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let texts = text.split(';').map(str::trim).filter(|text| !text.is_empty());
        let patterns: Result<Vec<Cron>, String> = texts.map(pattern).collect();
        Ok(Self { patterns: patterns?, zone })
    }

    /// Whether nothing is ever due.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The first moment behind this one, both Unix ms.
    pub fn next_after(&self, moment_ms: i64) -> Option<i64> {
        let from = self.zoned(moment_ms)?;
        let next = self.patterns.iter().filter_map(|pattern| pattern.find_next_occurrence(&from, false).ok());
        next.map(|at| at.timestamp().as_millisecond()).min()
    }

    fn zoned(&self, moment_ms: i64) -> Option<Zoned> {
        Some(Timestamp::from_millisecond(moment_ms).ok()?.to_zoned(self.zone.clone()))
    }
}

/// One pattern that is due at some time.
fn pattern(text: &str) -> Result<Cron, String> {
    let wrong = |error: croner::errors::CronError| format!("'{text}' is no cron pattern such as '0 3 * * *': {error}");
    let pattern = Cron::from_str(text).map_err(wrong)?;
    // A day that no month has is found out by looking for it.
    pattern.find_next_occurrence(&Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC), false).map_err(wrong)?;
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::zone;

    /// All that is due in so many days from a moment on, as times of the zone.
    fn due(text: &str, from: &str, days: i64) -> Vec<String> {
        let from: Zoned = from.parse().unwrap();
        let schedule = Schedule::parse(text, from.time_zone().clone()).unwrap();
        let (mut at, end) = (from.timestamp().as_millisecond(), from.timestamp().as_millisecond() + days * 86_400_000);
        let mut found = Vec::new();
        while let Some(next) = schedule.next_after(at).filter(|next| *next < end) {
            found.push(schedule.zoned(next).unwrap().strftime("%d. %H:%M %Z").to_string());
            at = next;
        }
        found
    }

    #[test]
    fn days_on_which_clocks_change_have_neither_none_nor_two() {
        let spring = due("30 2 * * *", "2026-03-28T00:00[Europe/Berlin]", 3);
        assert_eq!(spring, ["28. 02:30 CET", "29. 03:00 CEST", "30. 02:30 CEST"]);
        let autumn = due("30 2 * * *", "2026-10-24T00:00[Europe/Berlin]", 3);
        assert_eq!(autumn, ["24. 02:30 CEST", "25. 02:30 CEST", "26. 02:30 CET"]);
    }

    #[test]
    fn several_patterns_take_turns_and_one_moment_is_due_once() {
        let found = due("0 3 * * *; @daily; 0 */12 * * *", "2026-11-22T00:00[UTC]", 1);
        assert_eq!(found, ["22. 03:00 UTC", "22. 12:00 UTC"]);
        assert!(due("", "2026-11-22T00:00[UTC]", 9).is_empty());
    }

    #[test]
    fn what_is_never_due_is_refused() {
        for text in ["0 25 * * *", "0 0 31 2 *", "soon", "* * *", "0 3 * * * ; x"] {
            let error = Schedule::parse(text, TimeZone::UTC).unwrap_err();
            assert!(error.contains("is no cron pattern"), "{text}: {error}");
        }
        assert!(zone("Europe/Nowhere").is_err());
    }
}
