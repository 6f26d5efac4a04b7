//! Tables that fit the width of the terminal.

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, Table as Grid, Width, presets,
};

use super::style::Style;
use super::terminal::line;

/// Blanks between two columns.
const GAP: u16 = 2;
/// The minimum width of a column of text that is wrapped.
const NARROWEST: u16 = 14;

/// The alignment and wrapping of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Align {
    /// Text; wrapped if the terminal is too narrow.
    Left,
    /// Ids, times and states; never wrapped.
    Fixed,
    /// Numbers; never wrapped.
    Right,
}

/// A table with a heading.
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

    /// Adds a row. Control characters are escaped; an empty cell is shown as `-`.
    pub(in crate::cli) fn row(&mut self, cells: Vec<String>) {
        let safe = |cell: String| match cell.as_str() {
            "" => "-".to_owned(),
            text => line(text).into_owned(),
        };
        self.rows.push(cells.into_iter().map(safe).collect());
    }

    /// Returns the lines, fitted to the terminal's width, with a faint heading.
    pub(in crate::cli) fn painted(&self, style: Style) -> Vec<String> {
        let mut lines = self.lines(style.width());
        if let Some(heading) = lines.first_mut() {
            *heading = style.faint(heading);
        }
        lines
    }

    fn lines(&self, width: Option<u16>) -> Vec<String> {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        grid.set_content_arrangement(ContentArrangement::Dynamic);
        grid.set_width(width.map_or(u16::MAX, |width| width.saturating_add(GAP)));
        grid.add_rows(&self.rows);
        let widest = grid.column_max_content_widths();
        for ((column, align), widest) in grid.column_iter_mut().zip(&self.aligns).zip(widest) {
            column.set_padding((0, GAP));
            match align {
                Align::Left => {
                    let narrowest = Width::Fixed(widest.min(NARROWEST) + GAP);
                    column.set_constraint(ColumnConstraint::LowerBoundary(narrowest));
                }
                Align::Fixed => {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
                Align::Right => {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        grid.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }
}

/// Formats a number for a table; `-` for 0.
pub(in crate::cli) fn cell(number: u64) -> String {
    if number == 0 {
        "-".to_owned()
    } else {
        super::units::count(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = [
            ("NAME", Align::Left),
            ("ID", Align::Fixed),
            ("ROWS", Align::Right),
        ];
        let mut table = Table::new(&columns);
        for (name, rows) in [
            ("articles of the last twelve months", "1,200"),
            ("文档", ""),
        ] {
            let cells = [name, "436365140092256301", rows];
            table.row(cells.map(str::to_owned).to_vec());
        }
        table
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        assert_eq!(
            table().lines(None).join("\n"),
            "\
NAME                                ID                   ROWS
articles of the last twelve months  436365140092256301  1,200
文档                                436365140092256301      -"
        );
    }

    #[test]
    fn only_text_is_wrapped() {
        assert_eq!(
            table().lines(Some(48)).join("\n"),
            "\
NAME                   ID                   ROWS
articles of the last   436365140092256301  1,200
twelve months
文档                   436365140092256301      -"
        );
    }

    #[test]
    fn control_characters_in_cells_are_escaped() {
        let mut table = Table::new(&[("NAME", Align::Left)]);
        table.row(vec!["a\x1b[2Jb\nc".to_owned()]);
        assert_eq!(table.lines(Some(80)), ["NAME", "a\\u{1b}[2Jb\\nc"]);
    }
}
