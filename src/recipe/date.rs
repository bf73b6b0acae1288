//! Days as people write them: `2026-11-25` (ISO 8601), in UTC.

use super::UnknownChoice;

const DAY: i64 = 86_400;

/// Seconds since 1970 of the beginning of a day, or of a number of seconds.
///
/// # Errors
/// What is neither.
pub fn parse_date(text: &str) -> Result<i64, UnknownChoice> {
    let wrong = || UnknownChoice::new("date", text, "YYYY-MM-DD, or seconds since 1970, is");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| wrong());
    }
    let parts: Vec<i64> = text
        .split('-')
        .map(|part| part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit())))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let &[year @ 1970..=9999, month @ 1..=12, day @ 1..=31] = &parts[..] else { return Err(wrong()) };
    let seconds = days(year, month, day) * DAY;
    // The 30th of February is a day of March.
    if date(seconds) == format!("{year:04}-{month:02}-{day:02}") { Ok(seconds) } else { Err(wrong()) }
}

/// The day of a time, in seconds since 1970.
pub fn date(seconds: i64) -> String {
    let all = seconds.div_euclid(DAY);
    // Far away years are no dates that anyone wants to read.
    if !(0..=2_932_896).contains(&all) {
        return format!("{seconds} seconds since 1970");
    }
    // Never more than some weeks too late.
    let year = (1970..=1970 + all / 365).rev().find(|&year| days(year, 1, 1) <= all).unwrap_or(1970);
    let month = (1..=12).rev().find(|&month| days(year, month, 1) <= all).unwrap_or(1);
    format!("{year:04}-{month:02}-{:02}", all - days(year, month, 1) + 1)
}

/// The days from 1970 to a day, by the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) > leaps(year - 1);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let in_year = before[usize::try_from(month - 1).unwrap_or_default().min(11)];
    let leap_day = i64::from(is_leap && month > 2);
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + in_year + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By GNU date: `date -u -d DAY +%s`.
    #[test]
    fn dates_are_as_date_reads_them() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2000-03-01", 951_868_800),
            ("2024-12-31", 1_735_603_200),
            ("2026-11-25", 1_795_564_800),
            ("9999-12-31", 253_402_214_400),
        ] {
            assert_eq!(parse_date(text), Ok(seconds), "{text}");
            assert_eq!(date(seconds + 86_399), text);
        }
        assert_eq!(parse_date("1700000000"), Ok(1_700_000_000));
        for wrong in
            ["", "today", "2026-02-30", "2026-13-01", "2026-1", "-1", "2026-+1-01", "99999999999999999999"]
        {
            assert!(parse_date(wrong).is_err(), "{wrong}");
        }
        assert_eq!(date(i64::MAX), "9223372036854775807 seconds since 1970");
    }
}
