//! From a blocking thread to the async side, chunk by chunk: encoding and file reading continue while
//! requests are in flight, and memory stays bounded.

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::EngineErrorKind;

const CHUNK: usize = 512;
const CHUNKS_AHEAD: usize = 4;

/// Nobody listens any more, or an error was sent: the thread should end.
pub(crate) struct Ended;

/// Where the blocking thread puts its items.
pub(crate) struct Sink<T> {
    sender: Sender<Result<Vec<T>, EngineErrorKind>>,
    chunk: Vec<T>,
}

impl<T> Sink<T> {
    /// Sends an item on, or an error, which ends the stream.
    pub(crate) fn push(&mut self, item: Result<T, EngineErrorKind>) -> Result<(), Ended> {
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

/// Runs `produce` on a blocking thread and returns what it pushes, in chunks. A thread that panicked does
/// not look like one that came to its end: what is missing would be taken for what is not there.
pub(crate) fn feed<T: Send + 'static>(
    produce: impl FnOnce(&mut Sink<T>) -> Result<(), Ended> + Send + 'static,
) -> Receiver<Result<Vec<T>, EngineErrorKind>> {
    let (sender, receiver) = channel(CHUNKS_AHEAD);
    let last = sender.clone();
    let thread = tokio::task::spawn_blocking(move || {
        let mut sink = Sink {
            sender,
            chunk: Vec::with_capacity(CHUNK),
        };
        if produce(&mut sink).is_ok() {
            drop(sink.flush());
        }
    });
    tokio::spawn(async move {
        if let Err(error) = thread.await {
            drop(
                last.send(Err(EngineErrorKind::Worker(error.to_string())))
                    .await,
            );
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_comes_in_its_order_and_then_the_end() {
        let mut items = feed(|sink| (0..3000).try_for_each(|item| sink.push(Ok(item))));
        let mut seen = Vec::new();
        while let Some(chunk) = items.recv().await {
            seen.extend(chunk.unwrap());
        }
        assert!(seen.into_iter().eq(0..3000));
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_no_end_of_the_stream() {
        let mut items = feed(|sink| {
            (0..3000).try_for_each(|item| {
                assert!(item < 2000, "on purpose");
                sink.push(Ok(item))
            })
        });
        let mut seen = 0;
        let failure = loop {
            match items.recv().await {
                Some(Ok(chunk)) => seen += chunk.len(),
                Some(Err(failure)) => break failure,
                None => unreachable!("the stream seems whole after {seen} items"),
            }
        };
        assert!(matches!(failure, EngineErrorKind::Worker(_)), "{failure:?}");
    }
}
