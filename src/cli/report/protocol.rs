//! Shows the steps of a migration and the step that a run has reached.

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

/// A part of the migration: the state of the metadata, what a rollback does, and the steps.
type Part = (
    &'static str,
    &'static str,
    &'static [(Step, &'static str, &'static str)],
);

const BEFORE_THE_COMMIT: Part = (
    "The metadata is as before",
    "a rollback deletes staged keys",
    &[
        (Step::Plan, "Plan", "nothing is written"),
        (Step::Backup, "Back up", "one file, read back"),
        (Step::Stage, "Stage", "new keys added"),
    ],
);
const AFTER_THE_COMMIT: Part = (
    "The new layout is in place",
    "a rollback restores the backup",
    &[
        (Step::Commit, "Commit", "one transaction"),
        (Step::Cleanup, "Clean up", "old keys deleted"),
        (Step::Verify, "Verify", "all read back"),
        (Step::Done, "Done", "recorded"),
    ],
);

/// Returns a picture, which the style sheet draws from left to right, or from top to bottom on narrow screens.
pub(super) fn picture(at: Step) -> String {
    let mut name_of_step = "";
    let mut content = String::new();
    for (state, rollback, steps) in [BEFORE_THE_COMMIT, AFTER_THE_COMMIT] {
        content += &format!("<div class=\"band\">\n<p>{state}</p>\n<ol>\n");
        for (step, name, text) in steps {
            let class = match *step < at || at == Step::Done {
                true => "past",
                false if *step == at => "here",
                false => "open",
            };
            let mut here = "";
            if *step == at {
                (here, name_of_step) = ("<em>this run</em>", name);
            }
            content += &format!("<li class=\"{class}\">{here}<strong>{name}</strong>{text}</li>\n");
        }
        content += &format!("</ol>\n<p>{rollback}</p>\n</div>\n");
    }
    format!(
        "<figure class=\"steps\" aria-label=\"Steps of the migration: this run is at {name_of_step}\">\n\
         {content}</figure>\n"
    )
}
