//! The tables of `docs/performance.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::result::{Command, Size};

const BEGIN: &str = "<!-- results: written by `make bench` with BENCH_PAGE=1 -->\n";
const END: &str = "<!-- end of results -->\n";

/// Updates the tables and the picture of the page.
pub(crate) fn update(docs: &Path, sizes: &[Size], picture: &str) {
    let page = docs.join("performance.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has its markers");
    let (_, after) = rest.split_once(END).expect("the page has its markers");
    let tables: String = sizes.iter().map(table).collect();
    fs::write(page, format!("{before}{BEGIN}{tables}\n{END}{after}")).unwrap();
    fs::write(docs.join("performance.svg"), picture).unwrap();
}

fn table(size: &Size) -> String {
    let mut text = format!(
        "\n### {} segment indexes{}\n\n{} keys, {:.1} MB; median of {} repetitions; best with {} transactions \
         in flight, and {} keys per page where pages are read one after the other.\n\n",
        size.segment_indexes,
        size.how(),
        size.keys,
        size.bytes as f64 / 1e6,
        size.repetitions,
        size.write_in_flight,
        size.page_keys
    );
    text += "| command | seconds | floor | ratio | with deletes | sequential pages | with deletes | processor \
             seconds, program + etcd | ratio | peak MiB | requests | MB read | MB written | key by key | latency \
             of another client, ms |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for command in &size.commands {
        row(&mut text, command);
    }
    let loops = size.floors.iter();
    let loops: Vec<String> = loops
        .map(|(name, seconds)| {
            let [middle, most, longest] = size.floors_neighbour_ms[name];
            format!("{name} {seconds:.3} s ({middle:.1} / {most:.0} / {longest:.0})")
        })
        .collect();
    let _ = writeln!(
        text,
        "\nBare loops, and the latency of another client during each: {}.",
        loops.join(", ")
    );
    if let Some(migrate) = size.commands.iter().find(|it| it.name == "migrate") {
        let phases = migrate.phases.iter();
        let phases: Vec<String> = phases
            .map(|(name, seconds)| format!("{name} {seconds:.2} s"))
            .collect();
        let _ = writeln!(text, "Phases of `migrate`: {}.", phases.join(", "));
    }
    text
}

fn row(text: &mut String, command: &Command) {
    let key_by_key = command.one_by_one.map_or_else(
        || "-".to_owned(),
        |seconds| format!("{seconds:.0} s, {:.0} times", seconds / command.seconds),
    );
    let [middle, most, longest] = command.neighbour_ms;
    let _ = writeln!(
        text,
        "| {} | {:.3} | {:.3} | **{:.2}** | {:.2} | {:.2} | {:.2} | {:.2} + {:.2} | {:.2} | {:.0} | {} | {:.1} | {:.1} | \
         {key_by_key} | {middle:.1} / {most:.0} / {longest:.0} |",
        command.name,
        command.seconds,
        command.floor,
        command.ratio,
        command.ratio_with_deletes,
        command.ratio_turning,
        command.ratio_turning_with_deletes,
        command.cpu_client,
        command.cpu_server,
        command.cpu_ratio,
        command.peak_kib as f64 / 1024.0,
        command.requests,
        command.bytes_read as f64 / 1e6,
        command.bytes_written as f64 / 1e6,
    );
}
