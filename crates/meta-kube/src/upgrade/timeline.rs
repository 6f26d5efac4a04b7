//! The timeline of an upgrade: when each stage began, how long it took, and how long Milvus was stopped.

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::state::UpgradeState;

/// The stages of an operation so far, and its downtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// The stages in order; a resumed stage is listed again.
    pub stages: Vec<TimelineStage>,
    /// Seconds for which Milvus was not available, until now.
    pub downtime_seconds: u64,
    /// Whether Milvus is not available now.
    pub is_down: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineStage {
    pub stage: &'static str,
    /// Start time, RFC 3339.
    pub began_at: String,
    /// Duration in seconds, until now if it has not ended; `None` for the end.
    pub seconds: Option<u64>,
    /// Whether Milvus is not available during the stage.
    pub is_down: bool,
}

/// Builds the timeline from the history in the saved state.
pub(crate) fn timeline(state: &UpgradeState, now: Timestamp) -> Timeline {
    let began = |at: &str| at.parse().unwrap_or(now);
    let ends = state.history.iter().skip(1).map(|next| began(&next.at));
    let mut timeline = Timeline {
        stages: Vec::new(),
        downtime_seconds: 0,
        is_down: false,
    };
    for (entered, end) in state.history.iter().zip(ends.chain([now])) {
        let row = entered.stage.row();
        let seconds = end.as_second() - began(&entered.at).as_second();
        let seconds = u64::try_from(seconds).unwrap_or(0);
        timeline.is_down = row.end.is_none() && !row.untouched && !row.milvus_runs;
        if timeline.is_down {
            timeline.downtime_seconds += seconds;
        }
        timeline.stages.push(TimelineStage {
            stage: row.label,
            began_at: entered.at.clone(),
            seconds: row.end.is_none().then_some(seconds),
            is_down: timeline.is_down,
        });
    }
    timeline
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;
    use crate::state::Entered;
    use crate::state::tests::example;

    #[test]
    fn the_downtime_is_from_the_stop_until_milvus_is_healthy() {
        let entered = |(stage, second): (Stage, u32)| Entered {
            stage,
            at: format!("2026-01-01T00:00:{second:02}Z"),
        };
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let mut state = example();
        let stages = [(Stage::PROBE, 1), (Stage::STOP, 5), (Stage::WAIT_NEW, 20)];
        state.history = stages.map(entered).to_vec();
        let running = timeline(&state, now);
        let seconds: Vec<_> = running.stages.iter().map(|one| one.seconds).collect();
        assert_eq!(seconds, [Some(4), Some(15), Some(40)]);
        assert_eq!((running.downtime_seconds, running.is_down), (55, true));
        let down: Vec<_> = running.stages.iter().map(|one| one.is_down).collect();
        assert_eq!(down, [false, true, true]);
        state.history.push(entered((Stage::UPGRADED, 30)));
        let ended = timeline(&state, now);
        assert_eq!((ended.downtime_seconds, ended.is_down), (25, false));
        assert_eq!(ended.stages[3].seconds, None, "the end lasts");
        state.history.clear();
        assert_eq!(timeline(&state, now).stages, [], "before the first stage");
    }
}
