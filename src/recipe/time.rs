//! Times as RFC 3339 writes them.

/// A number of seconds since 1970 as `YYYY-MM-DDThh:mm:ssZ`; none for years that don't have four digits.
pub fn rfc3339(seconds: i64) -> Option<String> {
    const DAY: i64 = 86_400;
    let (mut day, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // 0000-01-01 and 9999-12-31.
    if !(-719_528..=2_932_896).contains(&day) {
        return None;
    }
    let mut year = 1970;
    // 400 years are always 146,097 days.
    year += 400 * day.div_euclid(146_097);
    day = day.rem_euclid(146_097);
    while day >= days_of_year(year) {
        day -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    for length in [31, days_of_year(year) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1))
}

fn days_of_year(year: i64) -> i64 {
    if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By GNU date: `date -u -d @SECONDS +%FT%TZ`.
    #[test]
    fn times_are_as_date_prints_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-2_208_988_800, "1900-01-01T00:00:00Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds).as_deref(), Some(expected));
        }
        for seconds in [-62_167_219_201, 253_402_300_800, i64::MIN, i64::MAX] {
            assert_eq!(rfc3339(seconds), None);
        }
    }
}
