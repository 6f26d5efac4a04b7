//! Tables as lists of columns.

use super::super::output::style::Style;
use super::super::output::table::{Align, Table};

/// A terminal of this width shows more than the most important columns.
const ROOMY: u16 = 110;

/// How much a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    /// What fits in 80 columns.
    Always,
    /// What fits in 120 columns.
    Roomy,
    /// Everything.
    Wide,
}

/// How tables are set.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) style: Style,
    pub(super) detail: Detail,
    /// Whether all rows belong to one collection, which need not be repeated.
    pub(super) is_one: bool,
}

/// What the user asked for; narrow terminals show less of it.
pub(super) fn detail(is_detailed: bool) -> Detail {
    if is_detailed {
        Detail::Wide
    } else {
        Detail::Roomy
    }
}

/// A column of rows of type `T`.
pub(super) struct Column<T> {
    heading: &'static str,
    align: Align,
    detail: Detail,
    cell: fn(&T) -> String,
}

impl<T> Column<T> {
    /// Text, wrapped where necessary.
    pub(super) fn text(heading: &'static str, cell: fn(&T) -> String) -> Self {
        Self::new(heading, Align::Left, cell)
    }

    /// Ids, times and states.
    pub(super) fn fixed(heading: &'static str, cell: fn(&T) -> String) -> Self {
        Self::new(heading, Align::Fixed, cell)
    }

    /// Numbers.
    pub(super) fn number(heading: &'static str, cell: fn(&T) -> String) -> Self {
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

    /// Left out on narrow terminals.
    pub(super) fn roomy(mut self) -> Self {
        self.detail = Detail::Roomy;
        self
    }

    /// Shown with `-o wide` only.
    pub(super) fn wide(mut self) -> Self {
        self.detail = Detail::Wide;
        self
    }
}

/// The rows as a table of the columns that are wanted and have room.
pub(super) fn table<T>(rows: &[T], columns: &[Column<T>], how: How) -> Vec<String> {
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
