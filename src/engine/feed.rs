//! From a blocking thread to the async side, chunk by chunk: encoding and file reading go on while
//! requests are in flight, and memory stays bounded.

use tokio::sync::mpsc::{Receiver, Sender, channel};

const CHUNK: usize = 512;
const CHUNKS_AHEAD: usize = 4;

/// Nobody listens any more, or an error was sent: the thread should end.
pub(super) struct Ended;

/// Where the blocking thread puts its items.
pub(super) struct Sink<T, E> {
    sender: Sender<Result<Vec<T>, E>>,
    chunk: Vec<T>,
}

impl<T, E> Sink<T, E> {
    /// Sends an item on, or an error, which ends the stream.
    pub(super) fn push(&mut self, item: Result<T, E>) -> Result<(), Ended> {
        match item {
            Ok(item) => self.chunk.push(item),
            Err(error) => {
                self.flush()?;
                drop(self.sender.blocking_send(Err(error)));
                return Err(Ended);
            }
        }
        if self.chunk.len() == CHUNK {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), Ended> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(Ok(full)).map_err(|_| Ended)
    }
}

/// Runs `produce` on a blocking thread and returns what it pushes, in chunks.
pub(super) fn feed<T, E>(
    produce: impl FnOnce(&mut Sink<T, E>) -> Result<(), Ended> + Send + 'static,
) -> Receiver<Result<Vec<T>, E>>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let (sender, receiver) = channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut sink = Sink {
            sender,
            chunk: Vec::with_capacity(CHUNK),
        };
        if produce(&mut sink).is_ok() {
            drop(sink.flush());
        }
    });
    receiver
}
