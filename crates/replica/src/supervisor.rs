//! Watches over the tasks of a node: one that ends when it should not, or panics, ends the node.
//!
//! A node without its proposer decides nothing, one without its lease clock lets nothing expire; both would look alive.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;

use crate::fatal::Fatal;

/// Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Supervisor {
    fatal: Fatal,
    stopping: Arc<AtomicBool>,
}

impl Supervisor {
    pub(crate) fn new(fatal: Fatal) -> Self {
        Supervisor {
            fatal,
            stopping: Arc::default(),
        }
    }

    /// From now on tasks may end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The work, watched over. `name` says what stops: "the lease clock".
    pub(crate) fn watch(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let supervisor = self.clone();
        async move {
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            supervisor.ended(name, ended);
        }
    }

    /// The same for a thread.
    pub(crate) fn watch_thread(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> impl FnOnce() + Send + 'static {
        let supervisor = self.clone();
        move || {
            let ended = catch_unwind(AssertUnwindSafe(work));
            supervisor.ended(name, ended);
        }
    }

    fn ended(&self, name: &'static str, ended: Result<(), Box<dyn Any + Send>>) {
        match ended {
            Err(panic) => self
                .fatal
                .end(name, &format!("it panicked: {}", words(&*panic))),
            Ok(()) if self.stopping.load(Ordering::Acquire) => {}
            // A disk error was reported where it happened, and is not reported again.
            Ok(()) => self.fatal.end(name, "it ended by itself"),
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn told() -> (Supervisor, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        let fatal = Fatal::new("d".to_owned(), move |error| {
            tell.lock().unwrap().push(error.to_string());
        });
        (Supervisor::new(fatal), told)
    }

    #[tokio::test]
    async fn an_end_and_a_panic_end_the_node() {
        let (supervisor, told_end) = told();
        supervisor.watch("the proposer", async {}).await;
        let (other, told_panic) = told();
        other
            .watch("the proposer", async { panic!("on purpose") })
            .await;
        let (third, told_thread) = told();
        third.watch_thread("preparing segments", || panic!("{}", "again"))();
        let (end, panic, thread) = (
            told_end.lock().unwrap().join(""),
            told_panic.lock().unwrap().join(""),
            told_thread.lock().unwrap().join(""),
        );
        assert!(end.contains("the proposer of data directory \"d\" stopped: it ended by itself"));
        assert!(panic.contains("it panicked: on purpose"), "{panic}");
        assert!(thread.contains("it panicked: again"), "{thread}");
    }

    #[tokio::test]
    async fn an_end_at_the_stop_is_none_of_its_business() {
        let (supervisor, told) = told();
        supervisor.stop();
        supervisor.watch("the proposer", async {}).await;
        assert!(told.lock().unwrap().is_empty());
    }
}
