//! Columns that line up.

use super::style::Style;
use super::terminal::line;

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table: a heading, rows, columns two blanks apart.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(in crate::cli) fn new(columns: &[(&str, Align)]) -> Self {
        Self {
            aligns: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![columns.iter().map(|(name, _)| (*name).to_owned()).collect()],
        }
    }

    pub(in crate::cli) fn row(&mut self, cells: Vec<String>) {
        let safe = |cell: String| line(&cell).into_owned();
        self.rows.push(cells.into_iter().map(safe).collect());
    }

    pub(in crate::cli) fn lines(&self) -> Vec<String> {
        let widths: Vec<usize> = (0..self.aligns.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        self.rows
            .iter()
            .map(|row| self.line(row, &widths))
            .collect()
    }

    /// The lines, with a faint heading.
    pub(in crate::cli) fn painted(&self, style: Style) -> Vec<String> {
        let mut lines = self.lines();
        if let Some(heading) = lines.first_mut() {
            *heading = style.faint(heading);
        }
        lines
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), align) in row.iter().zip(widths).zip(&self.aligns) {
            let padding = " ".repeat(width - cell.chars().count());
            match align {
                Align::Left => line.push_str(&format!("{cell}{padding}")),
                Align::Right => line.push_str(&format!("{padding}{cell}")),
            }
            line.push_str("  ");
        }
        line.trim_end().to_owned()
    }
}

/// A number in a table; nothing to see where it is 0.
pub(in crate::cli) fn cell(number: u64) -> String {
    if number == 0 {
        "-".to_owned()
    } else {
        super::units::count(number)
    }
}
