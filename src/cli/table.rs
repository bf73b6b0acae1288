//! Tables for people: the first column to the left, the others to the right, numbers with all their digits.

/// Lines of cells; each line has as many as it needs.
#[derive(Debug, Default)]
pub(super) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    /// A table with these words above its columns.
    pub(super) fn new(header: &[&str]) -> Self {
        Self { lines: vec![header.iter().map(|&word| word.to_owned()).collect()] }
    }

    pub(super) fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().collect());
    }

    /// The table, a line each ending with a newline, `indent` spaces before each.
    pub(super) fn render(&self, indent: usize) -> String {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for line in &self.lines {
            let mut row = " ".repeat(indent);
            for (column, cell) in line.iter().enumerate() {
                match (column, widths[column]) {
                    (0, width) => row += &format!("{cell:<width$}"),
                    (_, width) => row += &format!("  {cell:>width$}"),
                }
            }
            text += row.trim_end();
            text.push('\n');
        }
        text
    }
}

/// A number with commas: `1,540,000`.
pub(super) fn grouped(number: u64) -> String {
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
pub(super) fn signed(difference: i128) -> String {
    let number = grouped(u64::try_from(difference.unsigned_abs()).unwrap_or(u64::MAX));
    match difference {
        0 => number,
        1.. => format!("+{number}"),
        _ => format!("-{number}"),
    }
}

/// A number and what is counted: `1 file`, `1,681 files`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number as u64), if number == 1 { one } else { many })
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
        assert_eq!(
            (count(1, "file", "files"), count(1681, "file", "files")),
            ("1 file".into(), "1,681 files".into())
        );
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(&["", "size"]);
        table.line(["é".to_owned(), "1".to_owned(), "more".to_owned()]);
        table.line(["longer".to_owned()]);
        assert_eq!(table.render(2), "          size\n  é          1  more\n  longer\n");
    }
}
