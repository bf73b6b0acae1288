//! Tables for people: the first column to the left, the others to the right, numbers with all their digits.

use leanfs::report::bytes::grouped;

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

/// A number and what is counted: `1 file`, `1,681 files`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number as u64), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(1681, "file", "files"), "1,681 files");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(&["", "size"]);
        table.line(["é".to_owned(), "1".to_owned(), "more".to_owned()]);
        table.line(["longer".to_owned()]);
        assert_eq!(table.render(2), "          size\n  é          1  more\n  longer\n");
    }
}
