//! The whole program against the floor that etcd itself sets, on a real etcd: `make bench`.
//!
//! `BENCH_SIZES=1000,100000` chooses the numbers of segment indexes, `BENCH_REPETITIONS=3` how often
//! each is measured. Prints a table for each size and writes `target/bench/scale-SIZE.json` after each
//! repetition, so that a run that is cut short still counts; with `BENCH_RESUME=1` a size that was
//! measured as often as wanted is not measured again. `scale.json` and `scale.svg` show all sizes;
//! `BENCH_PAGE=1` puts tables and picture into `docs/performance.md`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement that cannot go on ends, and printing is what it is for"
)]

#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests, which use more of it"
)]
#[path = "../../tests/it/support/etcd.rs"]
mod etcd;
mod floor;
#[path = "../../tests/it/support/generator.rs"]
mod generator;
mod instance;
mod neighbour;
mod page;
mod picture;
mod product;
mod result;
mod run;
mod server;

use std::fs;
use std::path::Path;

use result::Size;

fn main() {
    let sizes = numbers("BENCH_SIZES").unwrap_or_else(|| vec![1_000, 100_000, 1_000_000]);
    let repetitions = numbers("BENCH_REPETITIONS").map(|numbers| numbers[0]);
    let resume = std::env::var_os("BENCH_RESUME").is_some();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder).unwrap();
    let mut results = Vec::new();
    for size in sizes {
        let repetitions = repetitions.unwrap_or(match size {
            0..10_000 => 5,
            _ => 3,
        });
        let file = folder.join(format!("scale-{size}.json"));
        let found = measured(&file).filter(|found| resume && found.repetitions >= repetitions);
        let result = found.unwrap_or_else(|| {
            let save = |so_far: &Size| write(&file, so_far);
            runtime.block_on(run::measure(size, repetitions, save))
        });
        println!("{}", result.table());
        results.push(result);
        write(&folder.join("scale.json"), &results);
        let picture = picture::draw(&results);
        fs::write(folder.join("scale.svg"), &picture).unwrap();
        if std::env::var_os("BENCH_PAGE").is_some() {
            let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
            page::update(&docs, &results, &picture);
        }
    }
    println!("written: {}", folder.display());
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
