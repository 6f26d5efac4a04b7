//! Compares the program with the minimum time of a real etcd (the floor): `make bench`.
//!
//! `BENCH_SIZES=1000,100000` selects the numbers of segment indexes, `BENCH_REPETITIONS=3` the
//! number of repetitions. Prints a table for each size and writes `target/bench/scale-SIZE.json`
//! after each repetition, so that results of an interrupted run are kept; `BENCH_RESUME=1` skips
//! sizes with the requested number of repetitions. `scale.json` and `scale.svg` contain all sizes;
//! `BENCH_PAGE=1` updates `docs/performance.md` with tables and picture. `BENCH_APART=1` uses
//! separate processors for server and clients and writes `scale-SIZE-apart.json`; the page also
//! shows these results if they exist.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark that cannot continue panics, and it prints its results"
)]

mod apart;
mod floor;
mod instance;
mod neighbour;
mod page;
mod picture;
mod product;
mod result;
mod run;
mod server;

use std::fs;
use std::path::{Path, PathBuf};

use result::Size;

fn main() {
    let sizes = numbers("BENCH_SIZES").unwrap_or_else(|| vec![1_000, 100_000, 1_000_000]);
    let repetitions = numbers("BENCH_REPETITIONS").map(|numbers| numbers[0]);
    let is_set = |variable| std::env::var_os(variable).is_some();
    let (resume, apart) = (is_set("BENCH_RESUME"), is_set("BENCH_APART"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = &Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(folder).unwrap();
    let mut results = Vec::new();
    for size in sizes {
        let repetitions = repetitions.unwrap_or(match size {
            0..10_000 => 5,
            _ => 3,
        });
        let file = file_of(folder, size, apart);
        let found = measured(&file).filter(|found| resume && found.repetitions >= repetitions);
        let result = found.unwrap_or_else(|| {
            let save = |so_far: &Size| write(&file, so_far);
            runtime.block_on(run::measure((size, apart), repetitions, save))
        });
        println!("{}", result.table());
        results.push(result);
    }
    if !apart {
        write(&folder.join("scale.json"), &results);
        let picture = picture::draw(&results);
        fs::write(folder.join("scale.svg"), &picture).unwrap();
        if is_set("BENCH_PAGE") {
            let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
            page::update(&docs, &with_apart(folder, results), &picture);
        }
    }
    println!("written: {}", folder.display());
}

fn file_of(folder: &Path, size: u64, apart: bool) -> PathBuf {
    let kind = if apart { "-apart" } else { "" };
    folder.join(format!("scale-{size}{kind}.json"))
}

/// Adds the results with separate processors after those of the same size, if they exist.
fn with_apart(folder: &Path, results: Vec<Size>) -> Vec<Size> {
    let both = results.into_iter().flat_map(|size| {
        let apart = measured(&file_of(folder, size.segment_indexes, true));
        [Some(size), apart]
    });
    both.flatten().collect()
}

fn measured(file: &Path) -> Option<Size> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

fn write(file: &Path, result: &impl serde::Serialize) {
    fs::write(file, serde_json::to_string_pretty(result).unwrap()).unwrap();
}

fn numbers(variable: &str) -> Option<Vec<u64>> {
    let text = std::env::var(variable).ok()?;
    let numbers = text.split(',').map(|number| number.trim().parse().unwrap());
    Some(numbers.collect())
}
