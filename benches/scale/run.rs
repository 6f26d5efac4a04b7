//! Measures one size: loads the server, then runs commands and bare loops alternately.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use meta_store::Store;

use crate::apart;
use crate::floor::{Cut, Floor, Pair};
use crate::instance::{Instance, PREFIX, SCRATCH};
use crate::neighbour::{Latency, Neighbour};
use crate::product::{self, Measured};
use crate::result::{Command, Size, median};
use crate::server::{Totals, processor_time};
use meta_testing::etcd::{Etcd, Settings};

const QUOTA_BYTES: u64 = 8 << 30;
const IN_FLIGHT: [usize; 5] = [1, 2, 4, 8, 16];
const READS_IN_FLIGHT: [usize; 4] = [1, 2, 4, 6];
const PAGES_TURNED: [i64; 2] = [50_000, 100_000];
/// Maximum number of samples with one request per key.
const PUTS_MAX: usize = 20_000;
const GETS_MAX: usize = 40;

/// Wall-clock time, and processor time of server and client, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    clock: f64,
    cpu: f64,
}

/// The measurements of a bare loop.
#[derive(Debug, Clone, Copy, Default)]
struct Loop {
    times: Times,
    latency: Latency,
}

impl std::ops::Add for Times {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            clock: self.clock + other.clock,
            cpu: self.cpu + other.cpu,
        }
    }
}

type Pick = fn(&Floors) -> &Loop;

/// The bare loops of a repetition.
#[derive(Debug, Clone, Copy, Default)]
struct Floors {
    read_old: Loop,
    read_new: Loop,
    turn_old: Loop,
    turn_new: Loop,
    write_new: Loop,
    write_old: Loop,
    delete_old: Loop,
    delete_new: Loop,
}

impl Floors {
    const NAMED: [(&str, Pick); 8] = [
        ("read 2.1", |it| &it.read_old),
        ("read 2.2", |it| &it.read_new),
        ("read 2.1 in sequential pages", |it| &it.turn_old),
        ("read 2.2 in sequential pages", |it| &it.turn_new),
        ("write 2.1", |it| &it.write_old),
        ("write 2.2", |it| &it.write_new),
        ("delete 2.1", |it| &it.delete_old),
        ("delete 2.2", |it| &it.delete_new),
    ];
}

/// The measurements of a command.
struct Sample {
    name: &'static str,
    measured: Measured,
    totals: Totals,
    latency: Latency,
}

struct Bench {
    apart: bool,
    etcd: Etcd,
    floor: Floor,
    instance: Instance,
    folder: tempfile::TempDir,
    write_in_flight: usize,
    delete_in_flight: usize,
    read_in_flight: usize,
    page_keys: i64,
}

/// Measures one size, with server and clients on separate or on the same processors. `save` is
/// called with the results after each repetition.
pub(crate) async fn measure(
    (segment_indexes, apart): (u64, bool),
    repetitions: u64,
    mut save: impl FnMut(&Size),
) -> Size {
    eprintln!("{segment_indexes}: generating and loading");
    let start = || {
        Etcd::start(Settings {
            quota_bytes: Some(QUOTA_BYTES),
            ..Settings::default()
        })
    };
    let etcd = if apart {
        apart::starting(start)
    } else {
        start()
    };
    let floor = Floor::connect(etcd.endpoint()).await;
    let instance = Instance::make(segment_indexes);
    instance.load(&floor).await;
    let mut bench = Bench {
        apart,
        etcd,
        floor,
        instance,
        folder: tempfile::tempdir().unwrap(),
        write_in_flight: 0,
        delete_in_flight: 0,
        read_in_flight: 0,
        page_keys: 0,
    };
    let cut = bench.floor.cut(PREFIX).await;
    bench.choose(&cut).await;
    let one_by_one = bench.one_by_one(&cut).await;
    let mut rounds = Vec::new();
    for repetition in 0..repetitions {
        eprintln!(
            "{segment_indexes}: repetition {} of {repetitions}",
            repetition + 1
        );
        rounds.push(bench.round(&cut, repetition).await);
        save(&bench.summarize(&cut, &rounds, &one_by_one));
    }
    bench.summarize(&cut, &rounds, &one_by_one)
}

impl Bench {
    /// Determines the best numbers of concurrent requests for this server.
    async fn choose(&mut self, cut: &Cut) {
        let sample = &self.instance.new[..self.instance.new.len().min(100_000)];
        let (mut writes, mut deletes) = (Vec::new(), Vec::new());
        let (mut reads, mut turns) = (Vec::new(), Vec::new());
        for in_flight in IN_FLIGHT {
            let write = self.floor.write(sample, in_flight).await;
            let scratch = self.floor.cut(SCRATCH).await;
            let delete = self.floor.delete(&scratch, in_flight).await;
            writes.push((write, in_flight));
            deletes.push((delete, in_flight));
        }
        for in_flight in READS_IN_FLIGHT {
            reads.push((self.floor.read(cut, in_flight).await, in_flight));
        }
        for page_keys in PAGES_TURNED {
            let turned = self.floor.turn_pages(PREFIX, page_keys).await;
            turns.push((turned, page_keys));
        }
        eprintln!(
            "writes {writes:?}\ndeletes {deletes:?}\nreads {reads:?}\nsequential pages {turns:?}"
        );
        self.page_keys = turns.iter().min().unwrap().1;
        let best = |times: &[(Duration, usize)]| times.iter().min().unwrap().1;
        self.write_in_flight = best(&writes);
        self.delete_in_flight = best(&deletes);
        self.read_in_flight = best(&reads);
        self.compact().await;
    }

    /// The time of commands that work like the official tool: one request per key, puts in random
    /// order, and for a rollback a put for each key of the backup.
    async fn one_by_one(&self, cut: &Cut) -> (BTreeMap<String, f64>, [usize; 3]) {
        let (all, new) = (cut.keys as usize, self.instance.new.len());
        let gets_max = if all > PUTS_MAX { GETS_MAX } else { all };
        let read = sample(self.instance.entries(), all, gets_max);
        let put_new = sample(self.instance.new.iter().cloned(), new, PUTS_MAX);
        let put_old = sample(self.instance.entries(), all, PUTS_MAX);
        let get = self.floor.get_singly(cut, &read).await;
        let put = self.floor.put_singly(&put_new).await;
        let scratch = self.floor.cut(SCRATCH).await;
        self.floor.delete(&scratch, self.delete_in_flight).await;
        // The keys already exist.
        let put_back = self.floor.put_singly(&put_old).await;
        self.compact().await;
        let scaled = |times: Duration, of: &[Pair], count: usize| {
            times.as_secs_f64() / of.len() as f64 * count as f64
        };
        let backup = scaled(get, &read, all);
        let seconds = BTreeMap::from([
            ("backup".to_owned(), backup),
            ("migrate".to_owned(), backup + scaled(put, &put_new, new)),
            ("rollback".to_owned(), scaled(put_back, &put_old, all)),
        ]);
        (seconds, [read.len(), put_new.len(), put_old.len()])
    }

    /// Runs all loops and commands once, alternately.
    async fn round(&self, old: &Cut, repetition: u64) -> (Floors, Vec<Sample>) {
        let file = self.folder.path().join(format!("{repetition}.mmb"));
        let file = file.to_str().unwrap();
        let mut floors = Floors::default();
        let mut samples = Vec::new();
        let first_read = self.read(old).await;
        samples.push(self.command("plan", file));
        let second_read = self.read(old).await;
        samples.push(self.command("backup", &format!("{file}.saved")));
        let mut reads = [first_read, second_read, self.read(old).await];
        reads.sort_by(|one, other| one.times.clock.total_cmp(&other.times.clock));
        floors.read_old = reads[1];
        floors.turn_old = self.turn_pages().await;
        let flight = self.write_in_flight;
        floors.write_new = self
            .measure_loop(self.floor.write(&self.instance.new, flight))
            .await;
        let scratch = self.floor.cut(SCRATCH).await;
        floors.delete_new = self
            .measure_loop(self.floor.delete(&scratch, self.delete_in_flight))
            .await;
        drop(scratch);
        self.compact().await;
        samples.push(self.command("migrate", file));
        let new = self.floor.cut(PREFIX).await;
        floors.read_new = self.read(&new).await;
        floors.turn_new = self.turn_pages().await;
        samples.push(self.command("verify", file));
        floors.write_old = self
            .measure_loop(self.floor.write(&self.instance.old, flight))
            .await;
        let scratch = self.floor.cut(SCRATCH).await;
        floors.delete_old = self
            .measure_loop(self.floor.delete(&scratch, self.delete_in_flight))
            .await;
        drop(scratch);
        self.compact().await;
        samples.push(self.command("rollback", file));
        self.compact().await;
        (floors, samples)
    }

    async fn read(&self, cut: &Cut) -> Loop {
        self.measure_loop(self.floor.read(cut, self.read_in_flight))
            .await
    }

    async fn turn_pages(&self) -> Loop {
        self.measure_loop(self.floor.turn_pages(PREFIX, self.page_keys))
            .await
    }

    async fn measure_loop(&self, work: impl Future<Output = Duration>) -> Loop {
        let cpu = || {
            let server = Totals::of(self.etcd.address()).cpu;
            server + processor_time("self").unwrap_or_default()
        };
        let before = cpu();
        let neighbour = Neighbour::start(self.etcd.endpoint());
        let clock = work.await.as_secs_f64();
        let latency = neighbour.finish();
        let cpu = cpu() - before - latency.cpu;
        Loop {
            times: Times { clock, cpu },
            latency,
        }
    }

    async fn compact(&self) {
        let store = self.floor.store();
        let request = meta_store::RangeRequest::key("neighbour");
        let revision = store.range(request).await.unwrap().revision;
        store.compact(revision).await.unwrap();
    }

    fn command(&self, name: &'static str, file: &str) -> Sample {
        let before = Totals::of(self.etcd.address());
        let neighbour = Neighbour::start(self.etcd.endpoint());
        let measured = product::run(name, self.etcd.endpoint(), file);
        let latency = neighbour.finish();
        let mut totals = Totals::of(self.etcd.address()).since(before);
        totals.requests -= latency.requests;
        Sample {
            name,
            measured,
            totals,
            latency,
        }
    }

    fn summarize(
        &self,
        cut: &Cut,
        rounds: &[(Floors, Vec<Sample>)],
        (one_by_one, samples): &(BTreeMap<String, f64>, [usize; 3]),
    ) -> Size {
        let mut floors = BTreeMap::new();
        let mut floors_neighbour_ms = BTreeMap::new();
        for (name, pick) in Floors::NAMED {
            let middle = |figure: &dyn Fn(&Loop) -> f64| {
                median(rounds.iter().map(|round| figure(pick(&round.0))))
            };
            floors.insert(name.to_owned(), middle(&|it| it.times.clock));
            let latency = milliseconds().map(|pick| middle(&|it| pick(&it.latency)));
            floors_neighbour_ms.insert(name.to_owned(), latency);
        }
        let commands = (0..rounds[0].1.len())
            .map(|index| summarize_command(rounds, index, one_by_one))
            .collect();
        Size {
            segment_indexes: self.instance.generator.segment_indexes,
            apart: self.apart,
            keys: cut.keys,
            bytes: cut.bytes,
            repetitions: rounds.len() as u64,
            floors,
            floors_neighbour_ms,
            write_in_flight: self.write_in_flight,
            page_keys: self.page_keys,
            one_by_one: one_by_one.clone(),
            one_by_one_samples: *samples,
            commands,
        }
    }
}

/// The times of the bare loops with the same reads and writes.
struct Least {
    /// With the loop that knows page boundaries.
    known: Times,
    /// With the loop that turns pages.
    turned: Times,
    deletes: Times,
    /// The names of the loops.
    name: &'static str,
}

fn floor_of(name: &str, floors: &Floors) -> Least {
    let (reads, writes, deletes, name) = match name {
        "migrate" => (
            [floors.read_old, floors.turn_old],
            floors.write_new,
            floors.delete_old,
            "read 2.1 + write 2.2",
        ),
        "verify" => (
            [floors.read_new, floors.turn_new],
            Loop::default(),
            Loop::default(),
            "read 2.2",
        ),
        "rollback" => (
            [floors.read_new, floors.turn_new],
            floors.write_old,
            floors.delete_new,
            "read 2.2 + write 2.1",
        ),
        _ => (
            [floors.read_old, floors.turn_old],
            Loop::default(),
            Loop::default(),
            "read 2.1",
        ),
    };
    let [known, turned] = reads.map(|read| read.times + writes.times);
    Least {
        known,
        turned,
        deletes: deletes.times,
        name,
    }
}

/// The reported latencies in milliseconds: median, 99th percentile, maximum.
fn milliseconds() -> [fn(&Latency) -> f64; 3] {
    [
        |it| it.p50.as_secs_f64() * 1e3,
        |it| it.p99.as_secs_f64() * 1e3,
        |it| it.max.as_secs_f64() * 1e3,
    ]
}

fn summarize_command(
    rounds: &[(Floors, Vec<Sample>)],
    index: usize,
    one_by_one: &BTreeMap<String, f64>,
) -> Command {
    let name = rounds[0].1[index].name;
    let over = |figure: &dyn Fn(&Floors, &Sample) -> f64| {
        median(
            rounds
                .iter()
                .map(|(floors, samples)| figure(floors, &samples[index])),
        )
    };
    let first = &rounds[0].1[index];
    let phases = (0..first.measured.phases.len())
        .map(|phase| {
            let seconds = over(&|_, sample| sample.measured.phases[phase].1);
            (first.measured.phases[phase].0.clone(), seconds)
        })
        .collect();
    let ratio = |figure: fn(&Least) -> f64| {
        over(&|floors, sample| sample.measured.seconds / figure(&floor_of(name, floors)))
    };
    Command {
        name: name.to_owned(),
        seconds: over(&|_, sample| sample.measured.seconds),
        phases,
        floor: over(&|floors, _| floor_of(name, floors).known.clock),
        floor_of: floor_of(name, &rounds[0].0).name.to_owned(),
        ratio: ratio(|least| least.known.clock),
        ratio_with_deletes: ratio(|least| (least.known + least.deletes).clock),
        ratio_turning: ratio(|least| least.turned.clock),
        ratio_turning_with_deletes: ratio(|least| (least.turned + least.deletes).clock),
        cpu_client: over(&|_, sample| sample.measured.cpu),
        cpu_server: over(&|_, sample| sample.totals.cpu),
        cpu_ratio: over(&|floors, sample| {
            let least = floor_of(name, floors);
            // The resolution is a hundredth of a second, so a small loop may report zero.
            (sample.measured.cpu + sample.totals.cpu) / (least.known + least.deletes).cpu.max(0.01)
        }),
        peak_kib: over(&|_, sample| sample.measured.peak_kib as f64) as u64,
        requests: over(&|_, sample| sample.totals.requests as f64) as u64,
        bytes_read: over(&|_, sample| sample.totals.bytes_sent as f64) as u64,
        bytes_written: over(&|_, sample| sample.totals.bytes_received as f64) as u64,
        one_by_one: one_by_one.get(name).copied(),
        neighbour_ms: milliseconds().map(|pick| over(&|_, sample| pick(&sample.latency))),
    }
}

/// At most `most` of the `count` pairs in `all`, evenly distributed, in pseudorandom order.
fn sample(all: impl Iterator<Item = Pair>, count: usize, most: usize) -> Vec<Pair> {
    let spread: Vec<Pair> = all.step_by(count.div_ceil(most)).collect();
    // A prime larger than any number of pairs, so that each pair is used once.
    const STEP: usize = 1_000_003;
    (0..spread.len())
        .map(|index| spread[index * STEP % spread.len()].clone())
        .collect()
}
