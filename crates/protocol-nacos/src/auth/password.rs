//! Passwords: hashed and compared beside the threads that serve, a few at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::error::{Code, Problem};

/// bcrypt's cost, as Nacos has it.
const COST: u32 = 10;
/// Hashes worked on at the same time: whoever guesses passwords takes no more of the machine than this.
const AT_ONCE: usize = 2;
/// Calls that wait for their turn at most; more are refused.
const WAITING: usize = 128;
/// Bytes of a password that bcrypt looks at.
const LONGEST: usize = 72;

/// Hashes and compares passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Passwords {
    /// A password's hash with a new salt.
    ///
    /// # Errors
    /// When it is empty or longer than bcrypt can tell apart, when too many wait.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Problem> {
        if password.is_empty() || password.len() > LONGEST {
            let text = format!("a password has 1 to {LONGEST} bytes");
            return Err(Problem::invalid(text));
        }
        let (password, salt) = (password.to_owned(), portolan_environment::random_bytes());
        let hashed = self.beside(move || bcrypt::hash_with_salt(password, COST, salt));
        let parts = hashed
            .await?
            .map_err(|why| Problem::coded(Code::ServerError, format!("bcrypt: {why}")))?;
        Ok(parts.format_for_version(bcrypt::Version::TwoA))
    }

    /// Whether a password is that of a hash. Where there is no hash it takes as long to say no.
    ///
    /// # Errors
    /// When too many wait.
    pub(crate) async fn fits(&self, password: &str, hash: Option<String>) -> Result<bool, Problem> {
        let password = password.to_owned();
        self.beside(move || match hash {
            Some(hash) => bcrypt::verify(password, &hash).unwrap_or(false),
            None => {
                let _ = bcrypt::hash_with_salt(password, COST, [0; 16]);
                false
            }
        })
        .await
    }

    async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let stopped = || Problem::coded(Code::ServerError, "the server stops");
        let turn = match self.turns.clone().try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let _waits = Waits::one_of(&self.waiting)
                    .ok_or_else(|| Problem::coded(Code::ServerError, "too many logins at once"))?;
                let turn = self.turns.clone().acquire_owned().await;
                turn.map_err(|_| stopped())?
            }
        };
        let done = portolan_environment::blocking(move || {
            // Held until the work is done, also when nobody waits for it any more.
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| stopped())
    }
}

/// Somebody who waits.
struct Waits<'a>(&'a AtomicUsize);

impl Waits<'_> {
    fn one_of(waiting: &AtomicUsize) -> Option<Waits<'_>> {
        let waits = Waits(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
