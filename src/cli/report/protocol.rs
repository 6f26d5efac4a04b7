//! Draws the steps of a migration and the step that a run has reached.

use super::escape::{Text, push};

/// A step of a migration, or the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Plan,
    Backup,
    Stage,
    Commit,
    Cleanup,
    Verify,
    Done,
}

const STEPS: [(Step, &str, &str); 7] = [
    (Step::Plan, "Plan", "nothing is written"),
    (Step::Backup, "Back up", "one file, read back"),
    (Step::Stage, "Stage", "new keys added"),
    (Step::Commit, "Commit", "one transaction"),
    (Step::Cleanup, "Clean up", "old keys deleted"),
    (Step::Verify, "Verify", "all read back"),
    (Step::Done, "Done", "recorded"),
];
/// The state before the commit, and after it.
const BANDS: [(&str, &str); 2] = [
    (
        "The metadata is as before",
        "a rollback deletes staged keys",
    ),
    (
        "The new layout is in place",
        "a rollback restores the backup",
    ),
];
/// Number of steps before the commit.
const BEFORE: usize = 3;

/// Returns two pictures, for wide and for narrow screens.
pub(super) fn picture(at: Step) -> String {
    let here = STEPS.iter().find(|(step, ..)| *step == at);
    let name = here.map_or("Plan", |(_, name, _)| name);
    let label = format!("Steps of the migration: this run is at {name}");
    wide(at, &label) + &narrow(at, &label)
}

fn class(step: Step, at: Step) -> &'static str {
    if step < at || at == Step::Done {
        "past"
    } else if step == at {
        "here"
    } else {
        "open"
    }
}

/// Draws the steps from left to right.
fn wide(at: Step, label: &str) -> String {
    const GAP: usize = 126;
    const LEFT: usize = 72;
    let mut svg = format!(
        "<svg class=\"wide\" viewBox=\"0 0 900 178\" role=\"img\" aria-label=\"{}\">\n",
        Text(label)
    );
    let split = LEFT + GAP * BEFORE - GAP / 2;
    for (class, x, width, (title, text)) in [
        ("band", 4, split - 8, BANDS[0]),
        ("band after", split + 4, 900 - split - 8, BANDS[1]),
    ] {
        let middle = x + width / 2;
        push(
            &mut svg,
            format_args!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"2\" width=\"{width}\" height=\"172\" rx=\"12\"/>\n\
             <text class=\"band-label\" x=\"{middle}\" y=\"26\" text-anchor=\"middle\">{title}</text>\n\
             <text class=\"small\" x=\"{middle}\" y=\"160\" text-anchor=\"middle\">{text}</text>\n"
            ),
        );
    }
    for (index, (step, ..)) in STEPS.iter().enumerate().skip(1) {
        let past = if *step <= at { " past" } else { "" };
        let (from, to) = (LEFT + GAP * (index - 1), LEFT + GAP * index);
        push(
            &mut svg,
            format_args!(
                "<line class=\"rail{past}\" x1=\"{from}\" y1=\"70\" x2=\"{to}\" y2=\"70\"/>\n"
            ),
        );
    }
    for (index, (step, name, text)) in STEPS.iter().enumerate() {
        let (x, class) = (LEFT + GAP * index, class(*step, at));
        push(
            &mut svg,
            format_args!(
                "<circle class=\"dot {class}\" cx=\"{x}\" cy=\"70\" r=\"11\"/>\n\
             <text x=\"{x}\" y=\"107\" text-anchor=\"middle\" font-weight=\"600\">{name}</text>\n\
             <text class=\"small\" x=\"{x}\" y=\"126\" text-anchor=\"middle\">{text}</text>\n"
            ),
        );
        if *step == at {
            push(
                &mut svg,
                format_args!(
                    "<text class=\"here-label\" x=\"{x}\" y=\"50\" text-anchor=\"middle\">this run</text>\n"
                ),
            );
        }
    }
    svg + "</svg>\n"
}

/// Draws the steps from top to bottom.
fn narrow(at: Step, label: &str) -> String {
    const GAP: usize = 54;
    const TOP: usize = 50;
    let mut svg = format!(
        "<svg class=\"narrow\" viewBox=\"0 0 340 478\" role=\"img\" aria-label=\"{}\">\n",
        Text(label)
    );
    // The second band starts lower, below its own label.
    let y_of = |index: usize| TOP + GAP * index + if index < BEFORE { 0 } else { 46 };
    let split = y_of(BEFORE) - 46;
    for (class, y, height, (title, _)) in [
        ("band", 2, split - 6, BANDS[0]),
        ("band after", split + 2, 478 - split - 4, BANDS[1]),
    ] {
        let label = y + 20;
        push(
            &mut svg,
            format_args!(
                "<rect class=\"{class}\" x=\"2\" y=\"{y}\" width=\"336\" height=\"{height}\" rx=\"12\"/>\n\
             <text class=\"band-label\" x=\"60\" y=\"{label}\">{title}</text>\n"
            ),
        );
    }
    for (index, (step, ..)) in STEPS.iter().enumerate().skip(1) {
        let past = if *step <= at { " past" } else { "" };
        let (from, to) = (y_of(index - 1), y_of(index));
        push(
            &mut svg,
            format_args!(
                "<line class=\"rail{past}\" x1=\"34\" y1=\"{from}\" x2=\"34\" y2=\"{to}\"/>\n"
            ),
        );
    }
    for (index, (step, name, text)) in STEPS.iter().enumerate() {
        let (y, class) = (y_of(index), class(*step, at));
        let (title, under) = (y + 1, y + 17);
        let here = if *step == at { "this run" } else { "" };
        push(
            &mut svg,
            format_args!(
                "<circle class=\"dot {class}\" cx=\"34\" cy=\"{y}\" r=\"10\"/>\n\
             <text x=\"60\" y=\"{title}\" font-weight=\"600\">{name}</text>\n\
             <text class=\"small\" x=\"60\" y=\"{under}\">{text}</text>\n\
             <text class=\"here-label\" x=\"322\" y=\"{title}\" text-anchor=\"end\">{here}</text>\n"
            ),
        );
    }
    svg + "</svg>\n"
}
