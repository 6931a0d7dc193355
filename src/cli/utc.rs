//! Points in time as people read them: ISO 8601 in UTC, from milliseconds since 1970.
//!
//! ```
//! use ironkeep::cli::utc::Utc;
//! assert_eq!(Utc(1_795_000_000_123).to_string(), "2026-11-18T11:06:40.123Z");
//! assert_eq!(Utc(1_795_000_000_123).compact(), "20261118T110640Z");
//! assert_eq!("2026-11-18 12:06:40.123+01:00".parse(), Ok(Utc(1_795_000_000_123)));
//! ```

use nom::branch::alt;
use nom::bytes::complete::take_while_m_n;
use nom::character::complete::{char, one_of};
use nom::combinator::{all_consuming, map_res, opt, value};
use nom::sequence::preceded;
use nom::{IResult, Parser};
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;
/// A bare number below this is seconds (up to the year 5138), from it on milliseconds (from March 1973).
const MS_FROM: i64 = 100_000_000_000;

/// Milliseconds since 1970-01-01T00:00:00Z; may be negative.
///
/// Parsed from Unix seconds, Unix milliseconds, or `YYYY-MM-DD`, then `T` or a space and `hh:mm[:ss[.fff]]`, then `Z`
/// or `+hh:mm`; a time without a zone is in UTC.
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
        let days = self.0.div_euclid(DAY_MS) + 719_468;
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

    /// Midnight of a day of that calendar; the month from 1.
    fn of_date(year: i64, month: i64, day: i64) -> Utc {
        let year = year - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Utc((era * 146_097 + day_of_era - 719_468) * DAY_MS)
    }

    /// Hour, minute, second, millisecond.
    fn time(self) -> [i64; 4] {
        let of_day = self.0.rem_euclid(DAY_MS);
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

/// A text that is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is Unix seconds, Unix milliseconds, or like 2026-11-21 or 2026-11-21T08:30:00Z")]
pub struct NoTime;

impl FromStr for Utc {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Utc, NoTime> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let number: i64 = text.parse().map_err(|_| NoTime)?;
            return Ok(Utc(if number.abs() < MS_FROM { number * 1000 } else { number }));
        }
        all_consuming(date_and_time).parse(text).map(|(_, time)| time).map_err(|_| NoTime)
    }
}

fn digits(count: usize) -> impl Fn(&str) -> IResult<&str, i64> {
    move |text| map_res(take_while_m_n(count, count, |c: char| c.is_ascii_digit()), str::parse).parse(text)
}

fn below(limit: i64) -> impl Fn(&str) -> IResult<&str, i64> {
    move |text| map_res(digits(2), |number| if number < limit { Ok(number) } else { Err(NoTime) }).parse(text)
}

fn date_and_time(text: &str) -> IResult<&str, Utc> {
    let (text, date) = map_res((digits(4), char('-'), digits(2), char('-'), digits(2)), |(year, _, month, _, day)| {
        let midnight = Utc::of_date(year, month, day);
        // A day that the calendar does not have comes back as another.
        if (1..=12).contains(&month) && midnight.date() == (year, month, day) { Ok(midnight) } else { Err(NoTime) }
    })
    .parse(text)?;
    let (text, time) = opt((preceded(one_of("T "), time_of_day), zone)).parse(text)?;
    let (time_ms, zone_ms) = time.unwrap_or((0, 0));
    Ok((text, Utc(date.0 + time_ms - zone_ms)))
}

/// Milliseconds since midnight.
fn time_of_day(text: &str) -> IResult<&str, i64> {
    let fraction = preceded(
        char('.'),
        map_res(take_while_m_n(1, 9, |c: char| c.is_ascii_digit()), |fraction: &str| {
            format!("{fraction:0<3}")[..3].parse::<i64>()
        }),
    );
    let seconds = preceded(char(':'), (below(61), opt(fraction)));
    let (text, (hour, _, minute, seconds)) = (below(24), char(':'), below(60), opt(seconds)).parse(text)?;
    let (second, ms) = seconds.unwrap_or((0, None));
    Ok((text, ((hour * 60 + minute) * 60 + second) * 1000 + ms.unwrap_or(0)))
}

/// Milliseconds that the clock is ahead of UTC.
fn zone(text: &str) -> IResult<&str, i64> {
    let ahead = alt((value(1, char('+')), value(-1, char('-'))));
    let offset = (ahead, below(24), opt(char(':')), below(60));
    let offset = offset.map(|(sign, hours, _, minutes)| sign * (hours * 60 + minutes) * 60_000);
    let (text, zone) = opt(alt((value(0, one_of("Zz")), offset))).parse(text)?;
    Ok((text, zone.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_parses_back_and_so_do_shorter_forms() {
        for ms in [0, -1, 951_782_400_000, 1_709_251_199_999, 4_107_542_400_000] {
            assert_eq!(Utc(ms).to_string().parse(), Ok(Utc(ms)));
        }
        for (text, ms) in [
            ("1795000000", 1_795_000_000_000),
            ("1795000000123", 1_795_000_000_123),
            ("-5", -5_000),
            ("2026-11-18", 1_794_960_000_000),
            ("2026-11-18T11:06", 1_794_999_960_000),
            ("2026-11-18T11:06:40.1Z", 1_795_000_000_100),
            ("2026-11-18T11:06:40.123456789-00:30", 1_795_001_800_123),
            ("2024-02-29T00:00:00+0000", 1_709_164_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Utc(ms)), "{text}");
        }
        for text in ["", "-", "now", "2026-02-29", "2026-13-01", "2026-11-18T24:00", "2026-11-18x", "2026-11-18T1:00"] {
            assert_eq!(text.parse::<Utc>(), Err(NoTime), "{text}");
        }
    }

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
