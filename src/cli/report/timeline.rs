//! The timeline of an upgrade as a picture: a row for each stage, with a bar over its time.

use super::escape::Text;
use crate::cli::output::units::duration;
use meta_kube::upgrade::timeline::Timeline;

/// The width of the picture, in its own units.
const WIDTH: u64 = 1000;
/// The width of the shortest bar.
const SHORTEST: u64 = 6;

/// The downtime, and a table with a bar for each stage.
pub(super) fn picture(timeline: &Timeline) -> String {
    let seconds = timeline.stages.iter().filter_map(|one| one.seconds);
    let total = seconds.sum::<u64>().max(1);
    let so_far = if timeline.is_down { " so far" } else { "" };
    let mut content = format!(
        "<p>{} in all; Milvus was not available for <strong class=\"down\">{}{so_far}</strong>.</p>\n\
         <div class=\"scroll\"><table class=\"timeline\">\n<tr><th>Began</th><th>Stage</th>\
         <th class=\"number\">Took</th><th></th></tr>\n",
        duration(total),
        duration(timeline.downtime_seconds),
    );
    let mut before = 0;
    for stage in &timeline.stages {
        let width = stage.seconds.unwrap_or(0) * WIDTH / total;
        let width = width.max(SHORTEST);
        let x = (before * WIDTH / total).min(WIDTH - width);
        before += stage.seconds.unwrap_or(0);
        content += &format!(
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td>\
             <td class=\"bars\"><svg viewBox=\"0 0 {WIDTH} 16\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"{}\" x=\"{x}\" width=\"{width}\" height=\"16\"/></svg></td></tr>\n",
            Text(&stage.began_at),
            Text(stage.stage),
            stage.seconds.map(duration).unwrap_or_default(),
            if stage.is_down { "down" } else { "up" },
        );
    }
    content + "</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_kube::upgrade::timeline::TimelineStage;

    fn timeline(stages: &[(Option<u64>, bool)]) -> Timeline {
        let stage = |(seconds, is_down): &(Option<u64>, bool)| TimelineStage {
            stage: "stopping <Milvus>",
            began_at: "2026-01-01T00:00:00Z".to_owned(),
            seconds: *seconds,
            is_down: *is_down,
        };
        Timeline {
            stages: stages.iter().map(stage).collect(),
            downtime_seconds: 75,
            is_down: false,
        }
    }

    #[test]
    fn each_stage_has_a_bar_over_its_time() {
        let html = picture(&timeline(&[
            (Some(25), false),
            (Some(75), true),
            (None, false),
        ]));
        for bar in [
            "class=\"up\" x=\"0\" width=\"250\"",
            "class=\"down\" x=\"250\" width=\"750\"",
            "class=\"up\" x=\"994\" width=\"6\"",
        ] {
            assert!(html.contains(bar), "{bar}: {html}");
        }
        assert!(html.contains("1m 40s in all"), "{html}");
        assert!(
            html.contains("<strong class=\"down\">1m 15s</strong>"),
            "{html}"
        );
        assert!(html.contains("stopping &lt;Milvus&gt;"), "{html}");
    }

    #[test]
    fn a_timeline_without_time_stays_within_the_picture() {
        for stages in [&[(None, false)][..], &[(Some(0), true), (None, false)]] {
            let html = picture(&timeline(stages));
            assert_eq!(html.matches("x=\"0\" width=\"6\"").count(), stages.len());
        }
    }
}
