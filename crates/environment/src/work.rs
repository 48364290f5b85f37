//! Work beside the caller: blocking calls, and threads with one task each.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::simulated;

/// Runs work that may block where it holds up nobody; in a simulation, here and at once.
///
/// # Errors
/// When the work panicked or the runtime is going away.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if simulated() {
        return Ok(work());
    }
    #[allow(
        clippy::disallowed_methods,
        reason = "this is where blocking work goes"
    )]
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)
}

/// Something that runs beside the caller.
#[derive(Debug)]
pub struct Dedicated(Inner);

#[derive(Debug)]
enum Inner {
    Thread(oneshot::Receiver<()>, JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Dedicated {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it panicked.
    pub async fn join(self) -> io::Result<()> {
        match self.0 {
            Inner::Thread(ended, thread) => {
                // Sent or dropped as the last thing the thread does.
                let _ended = ended.await;
                thread
                    .join()
                    .map_err(|_| io::Error::other("the thread panicked"))
            }
            Inner::Task(task) => task.await.map_err(io::Error::other),
        }
    }
}

/// Runs a future in a thread and runtime of its own, so that it may block; in a simulation, as a task of the caller's runtime.
///
/// # Errors
/// When the system gives no thread, or no runtime.
pub fn dedicate(
    name: &str,
    future: impl Future<Output = ()> + Send + 'static,
) -> io::Result<Dedicated> {
    if simulated() {
        return Ok(Dedicated(Inner::Task(tokio::spawn(future))));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread(name, move || runtime.block_on(future))
}

/// Runs blocking work in a thread of its own. Not for simulations, which have one thread.
///
/// # Errors
/// When the system gives no thread.
pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Dedicated> {
    let (end, ended) = oneshot::channel::<()>();
    let builder = std::thread::Builder::new().name(name.to_owned());
    #[allow(clippy::disallowed_methods, reason = "this is where threads come from")]
    let thread = builder.spawn(move || {
        let _end = end;
        work();
    })?;
    Ok(Dedicated(Inner::Thread(ended, thread)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dedicated_work_is_waited_for_and_its_panic_is_told() {
        let (sent, received) = oneshot::channel();
        let work = dedicate("one", async move {
            let _gone = sent.send(std::thread::current().name().map(str::to_owned));
        });
        work.unwrap().join().await.unwrap();
        assert_eq!(received.await.unwrap().as_deref(), Some("one"));
        let work = thread("two", || panic!("on purpose"));
        assert!(work.unwrap().join().await.is_err());
        assert_eq!(blocking(|| 3).await.unwrap(), 3);
    }
}
