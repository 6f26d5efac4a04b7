//! The whole program against the floor that etcd itself sets, on a real etcd: `make bench`.
//!
//! `BENCH_SIZES=1000,100000` chooses the numbers of segment indexes, `BENCH_REPETITIONS=3` how often
//! each is measured. Prints a table and writes `target/bench/scale.json` and `target/bench/scale.svg`.

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
mod picture;
mod product;
mod result;
mod run;
mod server;

use std::fs;
use std::path::Path;

fn main() {
    let sizes = numbers("BENCH_SIZES").unwrap_or_else(|| vec![1_000, 100_000, 1_000_000]);
    let repetitions = numbers("BENCH_REPETITIONS").map(|numbers| numbers[0]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let results: Vec<result::Size> = sizes
        .into_iter()
        .map(|size| {
            let repetitions = repetitions.unwrap_or(match size {
                0..10_000 => 5,
                10_000..500_000 => 3,
                _ => 2,
            });
            let result = runtime.block_on(run::measure(size, repetitions));
            println!("{}", result.table());
            result
        })
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder).unwrap();
    let json = serde_json::to_string_pretty(&results).unwrap();
    fs::write(folder.join("scale.json"), json).unwrap();
    fs::write(folder.join("scale.svg"), picture::draw(&results)).unwrap();
    println!("written: {}", folder.display());
}

fn numbers(variable: &str) -> Option<Vec<u64>> {
    let text = std::env::var(variable).ok()?;
    let numbers = text.split(',').map(|number| number.trim().parse().unwrap());
    Some(numbers.collect())
}
