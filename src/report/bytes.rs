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
        for (difference, text) in [(0, "0"), (1_500, "+1,500"), (-300, "-300")] {
            assert_eq!(signed(difference), text);
        }
    }
}
