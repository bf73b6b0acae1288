//! Numbers of bytes as people read them: with all their digits.

/// A number with commas: `1,540,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A difference with its sign: `+1,500`, `-300`, `0`.
pub fn signed(difference: i128) -> String {
    let number = grouped(u64::try_from(difference.unsigned_abs()).unwrap_or(u64::MAX));
    match difference {
        0 => number,
        1.. => format!("+{number}"),
        _ => format!("-{number}"),
    }
}

/// A number in three digits and its unit: `999 B`, `12.3 kB`, `4.84 MB`; powers of 1000.
pub fn short(number: u64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    // What would be rounded up to a thousand belongs to the next unit.
    let Some((factor, unit)) = UNITS.iter().find(|(factor, _)| number as f64 >= factor * 0.9995) else {
        return format!("{number} B");
    };
    let scaled = number as f64 / factor;
    match scaled {
        ..9.995 => format!("{scaled:.2} {unit}"),
        ..99.95 => format!("{scaled:.1} {unit}"),
        _ => format!("{scaled:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_640_000, "12,640,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), text);
        }
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (4_843_904, "4.84 MB"),
            (12_345_000_000, "12.3 GB"),
            (1_234_567_000_000, "1235 GB"),
        ] {
            assert_eq!(short(number), text);
        }
        for (difference, text) in [(0, "0"), (1_500, "+1,500"), (-300, "-300")] {
            assert_eq!(signed(difference), text);
        }
    }
}
