//! Points in time as people read them: ISO 8601 in UTC, from milliseconds since 1970.
//!
//! ```
//! use ironkeep::cli::utc::Utc;
//! assert_eq!(Utc(1_795_000_000_123).to_string(), "2026-11-18T11:06:40.123Z");
//! assert_eq!(Utc(1_795_000_000_123).compact(), "20261118T110640Z");
//! ```

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z; may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc(pub i64);

impl Utc {
    /// The present moment; 1970 where the clock is set before that.
    pub fn now() -> Utc {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Utc(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Fit for file names: `20261121T083000Z`.
    pub fn compact(self) -> String {
        let (year, month, day) = self.date();
        let [hour, minute, second, _] = self.time();
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }

    /// Year, month and day of the proleptic Gregorian calendar.
    ///
    /// Days are counted from 1 March of year 0, so that the leap day ends a year: 146,097 days make 400 years, and the
    /// months from March on begin at day (153 m + 2) / 5. (Hinnant, "chrono-Compatible Low-Level Date Algorithms")
    fn date(self) -> (i64, i64, i64) {
        let days = self.0.div_euclid(86_400_000) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        (year, month, day)
    }

    /// Hour, minute, second, millisecond.
    fn time(self) -> [i64; 4] {
        let of_day = self.0.rem_euclid(86_400_000);
        [of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60, of_day % 1_000]
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let [hour, minute, second, ms] = self.time();
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_and_centuries_fall_where_the_calendar_has_them() {
        for (ms, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        ] {
            assert_eq!(Utc(ms).to_string(), want);
        }
    }

    #[test]
    fn the_ends_of_the_range_do_not_overflow() {
        let _ = (Utc(i64::MIN).to_string(), Utc(i64::MAX).to_string());
    }
}
