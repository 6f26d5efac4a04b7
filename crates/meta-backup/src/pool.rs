//! Compresses several blocks in parallel on threads and returns them in submission order.
//!
//! The queue is bounded: before submitting to a full pool, the caller takes the oldest block.
//! Memory is limited to a few blocks per thread.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use zstd::bulk::Compressor;

use super::BackupError;
use super::native::DataBlock;

/// Blocks in the queue or being compressed, per thread.
const BLOCKS_PER_THREAD: usize = 2;

const THREADS_LIMIT: usize = 64;

/// A compressed block, and the block to reuse.
pub(super) struct Done {
    pub(super) compressed: io::Result<Vec<u8>>,
    pub(super) block: DataBlock,
}

struct Job {
    block: DataBlock,
    reply: Sender<Done>,
}

pub(super) struct Pool {
    jobs: Option<SyncSender<Job>>,
    pending: VecDeque<Receiver<Done>>,
    workers: Vec<JoinHandle<()>>,
    capacity: usize,
}

impl Pool {
    /// Starts between 1 and [`THREADS_LIMIT`] threads.
    pub(super) fn new(threads: usize, level: i32) -> io::Result<Self> {
        let threads = threads.clamp(1, THREADS_LIMIT);
        let capacity = threads * BLOCKS_PER_THREAD;
        let (jobs, queue) = sync_channel(capacity);
        let queue = Arc::new(Mutex::new(queue));
        let mut pool = Self {
            jobs: Some(jobs),
            pending: VecDeque::with_capacity(capacity),
            workers: Vec::with_capacity(threads),
            capacity,
        };
        for _ in 0..threads {
            let compressor = Compressor::new(level)?;
            let queue = Arc::clone(&queue);
            let worker = thread::Builder::new()
                .name(String::from("backup-compress"))
                .spawn(move || work(&queue, compressor))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Whether the oldest block must be taken before the next is submitted.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= self.capacity
    }

    /// Submits a block. The pool must not be full.
    pub(super) fn submit(&mut self, block: DataBlock) -> Result<(), BackupError> {
        let (reply, done) = channel();
        let jobs = self.jobs.as_ref().ok_or(BackupError::Worker)?;
        jobs.send(Job { block, reply })
            .map_err(|_| BackupError::Worker)?;
        self.pending.push_back(done);
        Ok(())
    }

    /// Waits for the oldest block; `None` if the pool is empty.
    pub(super) fn take_oldest(&mut self) -> Result<Option<Done>, BackupError> {
        let Some(oldest) = self.pending.pop_front() else {
            return Ok(None);
        };
        oldest.recv().map(Some).map_err(|_| BackupError::Worker)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // If a worker panicked, its reply is missing, and the caller received an error for it.
            let _ = worker.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>, mut compressor: Compressor<'_>) {
    loop {
        // The lock is held while waiting for a job; the other workers wait for the lock.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, reply }) = job else {
            return;
        };
        let compressed = block.compress(&mut compressor);
        // The receiver may be dropped together with the writer.
        let _ = reply.send(Done { compressed, block });
    }
}
