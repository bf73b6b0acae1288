//! The 32 bytes that a FAT directory has of a file, but for its long name.
//!
//! Source: Microsoft, FAT32 File System Specification 1.03, "FAT Directory Structure" and "Date and Time Formats".
//!
//! Pure: values in, bytes out.

use super::names::{ENTRY_BYTES, ShortName};

pub(super) const ATTRIBUTE_VOLUME: u8 = 0x08;
pub(super) const ATTRIBUTE_DIRECTORY: u8 = 0x10;
pub(super) const ATTRIBUTE_ARCHIVE: u8 = 0x20;

/// 1980-01-01 and 2107-12-31 23:59:58, in seconds since 1970: the first and the last time.
pub(super) const TIMES: std::ops::RangeInclusive<i64> = 315_532_800..=4_354_819_198;

/// The entry with a file's 8.3 name.
pub(super) fn entry(
    short: &ShortName,
    attributes: u8,
    mtime: i64,
    first: u32,
    size: u32,
) -> [u8; ENTRY_BYTES] {
    let (date, time) = date_and_time(mtime);
    let [date, time] = [date.to_le_bytes(), time.to_le_bytes()];
    let [low, high] = [first as u16, (first >> 16) as u16].map(u16::to_le_bytes);
    let mut bytes = [0; ENTRY_BYTES];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, short);
    put(11, &[attributes]);
    put(14, &time); // Made.
    put(16, &date);
    put(18, &date); // Last used.
    put(20, &high);
    put(22, &time); // Last written.
    put(24, &date);
    put(26, &low);
    put(28, &size.to_le_bytes());
    bytes
}

/// A time as FAT has it: years since 1980 in 7 bits, month and day; hour, minute and half the second. FAT knows no time
/// zones, and this is UTC.
pub(super) fn date_and_time(mtime: i64) -> (u16, u16) {
    let seconds = mtime.clamp(*TIMES.start(), *TIMES.end()) - TIMES.start();
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1980;
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let date = (year - 1980) << 9 | month << 5 | (day + 1);
    let time = (second / 3600) << 11 | (second / 60 % 60) << 5 | (second % 60 / 2);
    (date as u16, time as u16)
}
