//! Tables defined by lists of columns.

use super::style::Style;
use super::table::{Align, Table};

/// The minimum width for more than the most important columns.
const ROOMY: u16 = 110;

/// How many columns a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum Detail {
    /// What fits in 80 columns.
    Always,
    /// What fits in 120 columns.
    Roomy,
    /// Everything.
    Wide,
}

/// How to print tables.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct How {
    pub(in crate::cli) style: Style,
    pub(in crate::cli) detail: Detail,
    /// Whether all rows belong to one collection, so that its column is not needed.
    pub(in crate::cli) is_one: bool,
}

impl How {
    /// All columns.
    pub(in crate::cli) fn of(style: Style) -> Self {
        Self {
            style,
            detail: Detail::Wide,
            is_one: false,
        }
    }
}

/// Returns the detail for `-o wide` and `-v`, or for other output; narrow terminals show less.
pub(in crate::cli) fn detail(is_detailed: bool) -> Detail {
    if is_detailed {
        Detail::Wide
    } else {
        Detail::Roomy
    }
}

/// A column of rows of type `T`.
pub(in crate::cli) struct Column<T> {
    heading: &'static str,
    align: Align,
    detail: Detail,
    cell: fn(&T) -> String,
}

impl<T> Column<T> {
    /// Text, wrapped where necessary.
    pub(in crate::cli) fn text(heading: &'static str, cell: fn(&T) -> String) -> Self {
        Self::new(heading, Align::Left, cell)
    }

    /// Ids, times and states.
    pub(in crate::cli) fn fixed(heading: &'static str, cell: fn(&T) -> String) -> Self {
        Self::new(heading, Align::Fixed, cell)
    }

    /// Numbers.
    pub(in crate::cli) fn number(heading: &'static str, cell: fn(&T) -> String) -> Self {
        Self::new(heading, Align::Right, cell)
    }

    fn new(heading: &'static str, align: Align, cell: fn(&T) -> String) -> Self {
        Self {
            heading,
            align,
            detail: Detail::Always,
            cell,
        }
    }

    /// Hides the column on narrow terminals.
    pub(in crate::cli) fn roomy(mut self) -> Self {
        self.detail = Detail::Roomy;
        self
    }

    /// Shows the column only in wide output.
    pub(in crate::cli) fn wide(mut self) -> Self {
        self.detail = Detail::Wide;
        self
    }
}

/// Formats the rows as a table, with the columns that fit the requested detail and the terminal.
pub(in crate::cli) fn table<T>(rows: &[T], columns: &[Column<T>], how: How) -> Vec<String> {
    let is_narrow = how.style.width().is_some_and(|width| width < ROOMY);
    let detail = match how.detail {
        Detail::Wide => Detail::Wide,
        Detail::Roomy | Detail::Always if is_narrow => Detail::Always,
        Detail::Roomy | Detail::Always => how.detail,
    };
    let columns = columns.iter().filter(|column| {
        column.detail <= detail && !(how.is_one && column.heading.starts_with("COLLECTION"))
    });
    let columns: Vec<&Column<T>> = columns.collect();
    let headings = columns.iter().map(|column| (column.heading, column.align));
    let mut table = Table::new(&headings.collect::<Vec<_>>());
    for row in rows {
        table.row(columns.iter().map(|column| (column.cell)(row)).collect());
    }
    table.painted(how.style)
}
