//! Streams items from a blocking thread to async code in chunks.
//!
//! Encoding and file reading continue while requests are in flight, and memory stays bounded.

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::EngineErrorKind;

const CHUNK: usize = 512;
const CHUNKS_AHEAD: usize = 4;

/// The receiver is closed or an error was sent: the thread should return.
pub(crate) struct Ended;

/// The sending side of a stream, for the blocking thread.
pub(crate) struct Sink<T> {
    sender: Sender<Result<Vec<T>, EngineErrorKind>>,
    chunk: Vec<T>,
}

impl<T> Sink<T> {
    /// Sends an item.
    pub(crate) fn push(&mut self, item: T) -> Result<(), Ended> {
        self.chunk.push(item);
        if self.chunk.len() == CHUNK {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Returns the result of a step, or sends its error, which ends the stream.
    pub(crate) fn checked<U>(
        &mut self,
        step: Result<U, impl Into<EngineErrorKind>>,
    ) -> Result<U, Ended> {
        step.map_err(|error| {
            if self.flush().is_ok() {
                drop(self.sender.blocking_send(Err(error.into())));
            }
            Ended
        })
    }

    fn flush(&mut self) -> Result<(), Ended> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(Ok(full)).map_err(|_| Ended)
    }
}

/// Runs `produce` on a blocking thread and returns what it pushes, in chunks. A panic of the thread
/// is sent as an error: a truncated stream must not look like a complete one.
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
    async fn stream_yields_all_items_in_order() {
        let mut items = feed(|sink| (0..3000).try_for_each(|item| sink.push(item)));
        let mut seen = Vec::new();
        while let Some(chunk) = items.recv().await {
            seen.extend(chunk.unwrap());
        }
        assert!(seen.into_iter().eq(0..3000));
    }

    #[tokio::test]
    async fn stream_reports_a_panic_of_its_thread() {
        let mut items = feed(|sink| {
            (0..3000).try_for_each(|item| {
                assert!(item < 2000, "on purpose");
                sink.push(item)
            })
        });
        let mut seen = 0;
        let failure = loop {
            match items.recv().await {
                Some(Ok(chunk)) => seen += chunk.len(),
                Some(Err(failure)) => break failure,
                None => unreachable!("the stream ended without an error after {seen} items"),
            }
        };
        assert!(matches!(failure, EngineErrorKind::Worker(_)), "{failure:?}");
    }
}
