//! Which of many past moments are kept, by the rules that restic and others have made known: the last few, and of each
//! of the last hours, days, weeks, months and years that have any the last one.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How many of each kind are kept. With none of any kind, all are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    counts: [u32; KINDS.len()],
}

/// Why a moment is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing says what may go.
    Everything,
    Last,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
    /// There is no other good one.
    LastGood,
    /// There is no other that was read back and found whole.
    LastVerified,
    /// Moments from which one can still be wanted begin with it.
    Window,
}

impl Keep {
    pub fn word(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::LastGood => "last good",
            Self::LastVerified => "last verified",
            Self::Window => "point-in-time window",
        }
    }
}

/// What the rules are called, and which moments are of one time: those with equal formatted times.
const KINDS: [(&str, Keep, &str); 6] = [
    ("keep-last", Keep::Last, "%s.%N"),
    ("keep-hourly", Keep::Hourly, "%Y-%m-%d %H %z"),
    ("keep-daily", Keep::Daily, "%Y-%m-%d"),
    ("keep-weekly", Keep::Weekly, "%G-%V"),
    ("keep-monthly", Keep::Monthly, "%Y-%m"),
    ("keep-yearly", Keep::Yearly, "%Y"),
];

impl Retention {
    /// Rules such as `keep-last 3 keep-daily 7`; none at all keep everything.
    ///
    /// ```
    /// use ironkeep::calendar::Retention;
    /// assert!(Retention::parse("keep-last 3 keep-hourly 24 keep-daily 7").is_ok());
    /// assert!(Retention::parse("keep-last").is_err());
    /// assert!(Retention::parse("keep-some 3").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut retention = Self::default();
        for pair in words.chunks(2) {
            let names = KINDS.map(|(name, ..)| name);
            let [name, count] = pair else { return Err(format!("'{}' needs a number behind it", pair[0])) };
            let Some(kind) = names.iter().position(|known| known.eq_ignore_ascii_case(name)) else {
                return Err(format!("there is no rule '{name}', but {}", names.join(", ")));
            };
            retention.counts[kind] =
                count.parse().map_err(|_| format!("'{count}' is no number of what {name} keeps"))?;
        }
        Ok(retention)
    }

    /// Why each moment is kept; those without a reason may go. A moment has its Unix ms, and whether it is good: what is
    /// not counts for no rule, and is kept until something good comes behind it. The last good one always stays.
    pub fn plan(&self, moments: &[(i64, bool)], zone: &TimeZone) -> Vec<Vec<Keep>> {
        if self.counts == [0; KINDS.len()] {
            return moments.iter().map(|_| vec![Keep::Everything]).collect();
        }
        let mut kept = vec![Vec::new(); moments.len()];
        let mut newest_first: Vec<usize> = (0..moments.len()).collect();
        newest_first.sort_by_key(|index| std::cmp::Reverse((moments[*index].0, *index)));
        let last_good = newest_first.iter().position(|index| moments[*index].1);
        for (place, index) in newest_first.iter().enumerate() {
            if last_good.is_none_or(|last_good| place < last_good) {
                kept[*index].push(Keep::Last);
            }
        }
        for ((_, keep, format), count) in KINDS.iter().zip(self.counts) {
            let mut times: Vec<String> = Vec::new();
            for index in newest_first.iter().filter(|index| moments[**index].1) {
                if times.len() >= count as usize {
                    break;
                }
                let at = Timestamp::from_millisecond(moments[*index].0).unwrap_or(Timestamp::UNIX_EPOCH);
                let mut time = at.to_zoned(zone.clone()).strftime(format).to_string();
                if *keep == Keep::Last {
                    time = index.to_string();
                }
                if times.last() != Some(&time) {
                    times.push(time);
                    kept[*index].push(*keep);
                }
            }
        }
        if let Some(place) = last_good
            && kept[newest_first[place]].is_empty()
        {
            kept[newest_first[place]].push(Keep::LastGood);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    /// 2026-11-22 00:00 UTC, a Sunday.
    const SUNDAY: i64 = 1_795_305_600_000;

    fn plan(text: &str, moments: &[(i64, bool)]) -> Vec<String> {
        let kept = Retention::parse(text).unwrap().plan(moments, &TimeZone::UTC);
        kept.iter().map(|reasons| reasons.iter().map(|keep| keep.word()).collect::<Vec<_>>().join(" ")).collect()
    }

    fn good(hours: impl IntoIterator<Item = i64>) -> Vec<(i64, bool)> {
        hours.into_iter().map(|hour| (SUNDAY + hour * HOUR, true)).collect()
    }

    #[test]
    fn each_rule_keeps_the_last_of_its_times() {
        // Every twelve hours from Friday on, in the order of a listing.
        let moments = good([-48, -36, -24, -12, 0, 12]);
        assert_eq!(plan("keep-last 2", &moments), ["", "", "", "", "last", "last"]);
        assert_eq!(plan("keep-daily 2", &moments), ["", "", "", "daily", "", "daily"]);
        assert_eq!(plan("keep-weekly 5", &moments), ["", "", "", "", "", "weekly"]);
        assert_eq!(plan("keep-last 1 keep-daily 9", &moments), ["", "daily", "", "daily", "", "last daily"]);
        assert_eq!(plan("keep-hourly 3 keep-yearly 1", &moments)[3..], ["hourly", "hourly", "hourly yearly"]);
    }

    #[test]
    fn times_without_any_do_not_count() {
        let moments = good([-24 * 400, -24 * 70, -24 * 40, -1]);
        assert_eq!(plan("keep-daily 3", &moments), ["", "daily", "daily", "daily"]);
        assert_eq!(plan("keep-monthly 2 keep-yearly 2", &moments), ["yearly", "", "monthly", "monthly yearly"]);
    }

    #[test]
    fn no_rules_keep_everything() {
        assert_eq!(plan("", &good([0, 1])), ["everything", "everything"]);
        assert_eq!(plan("keep-last 0", &good([0, 1])), ["everything", "everything"]);
    }

    #[test]
    fn what_is_not_good_counts_for_nothing_and_goes_when_something_good_comes_behind_it() {
        let mut moments = good([0, 1, 2, 3]);
        (moments[1].1, moments[3].1) = (false, false);
        assert_eq!(plan("keep-last 1", &moments), ["", "", "last", "last"]);
        moments.iter_mut().for_each(|moment| moment.1 = false);
        assert_eq!(plan("keep-last 1", &moments), ["last"; 4]);
    }

    #[test]
    fn two_of_one_moment_are_two() {
        assert_eq!(plan("keep-last 2", &good([5, 5, 5])), ["", "last", "last"]);
    }
}
