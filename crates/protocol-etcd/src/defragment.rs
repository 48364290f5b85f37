//! What a server does when it is asked to defragment.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

/// How the storage gives back what it can, and says why when it cannot.
#[derive(Clone)]
pub struct Defragment(Arc<dyn Fn() -> Defragmenting + Send + Sync>);

pub(crate) type Defragmenting = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Defragment {
    /// What `work` does.
    pub fn new<F>(work: impl Fn() -> F + Send + Sync + 'static) -> Defragment
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Defragment(Arc::new(move || Box::pin(work())))
    }

    /// Does it.
    pub(crate) fn run(&self) -> Defragmenting {
        (self.0)()
    }
}

/// Nothing is stored, so nothing is given back.
impl Default for Defragment {
    fn default() -> Defragment {
        Defragment::new(|| std::future::ready(Ok(())))
    }
}

impl fmt::Debug for Defragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Defragment")
    }
}
