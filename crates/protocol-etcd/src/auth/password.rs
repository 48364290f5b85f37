//! Passwords: hashed and compared beside the threads that serve, a few at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

use crate::error::{Code, Failure, STOPPED, TOO_MANY_REQUESTS};

/// Hashes worked on at the same time: whoever guesses passwords takes no more of the machine than this.
const AT_ONCE: usize = 2;
/// Calls that wait for their turn at most; more are refused. At etcd's cost the last of them has waited for some seconds.
const WAITING: usize = 128;
/// Bytes of a password that bcrypt looks at.
const LONGEST: usize = 72;

/// Hashes and compares passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    cost: u32,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Passwords {
    /// With bcrypt's cost, 4 to 31; another is taken for etcd's default of 10.
    pub(crate) fn new(cost: u32) -> Passwords {
        Passwords {
            cost: if (4..=31).contains(&cost) { cost } else { 10 },
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// A password's hash with a new salt.
    ///
    /// # Errors
    /// When it is longer than bcrypt can tell apart, in Go's words; when too many wait.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Failure> {
        if password.len() > LONGEST {
            return Err(Failure::new(
                Code::Unknown,
                "bcrypt: password length exceeds 72 bytes",
            ));
        }
        let (cost, salt) = (self.cost, portolan_environment::random_bytes());
        let password = password.to_owned();
        let hashed = self.beside(move || bcrypt::hash_with_salt(password, cost, salt));
        let parts = hashed.await?.map_err(|why| {
            tracing::error!(%why, "a password cannot be hashed");
            Failure::new(Code::Internal, "etcdserver: internal error")
        })?;
        // The version that etcd writes.
        Ok(parts.format_for_version(bcrypt::Version::TwoA))
    }

    /// Whether a password is that of a hash. Where there is no hash it takes as long to say no.
    ///
    /// # Errors
    /// When too many wait.
    pub(crate) async fn fits(&self, password: &str, hash: Option<String>) -> Result<bool, Failure> {
        let (cost, password) = (self.cost, password.to_owned());
        self.beside(move || match hash {
            Some(hash) => bcrypt::verify(password, &hash).unwrap_or(false),
            None => {
                let _ = bcrypt::hash_with_salt(password, cost, [0; 16]);
                false
            }
        })
        .await
    }

    async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = match self.turns.clone().try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let _waits = Waits::one_of(&self.waiting).ok_or(TOO_MANY_REQUESTS)?;
                let turn = self.turns.clone().acquire_owned().await;
                turn.map_err(|_| STOPPED)?
            }
        };
        let done = portolan_environment::blocking(move || {
            // Held until the work is done, also when nobody waits for it any more.
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| STOPPED)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash("secret").await.unwrap();
        assert!(hash.starts_with("$2a$04$"), "{hash}");
        assert_ne!(passwords.hash("secret").await.unwrap(), hash);
        let rows = [
            ("secret", Some(hash.clone()), true),
            ("Secret", Some(hash.clone()), false),
            ("", Some(hash), false),
            ("secret", None, false),
            ("", Some(String::new()), false),
            ("x", Some("no hash".to_owned()), false),
        ];
        for (password, hash, expected) in rows {
            let fits = passwords.fits(password, hash.clone()).await.unwrap();
            assert_eq!(fits, expected, "{password:?} {hash:?}");
        }
        let long = "x".repeat(73);
        assert!(passwords.hash(&long[1..]).await.is_ok());
        assert_eq!(passwords.hash(&long).await.unwrap_err().code, Code::Unknown);
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let waiting = AtomicUsize::new(0);
        let held: Vec<_> = (0..WAITING)
            .map(|_| Waits::one_of(&waiting).unwrap())
            .collect();
        assert!(Waits::one_of(&waiting).is_none());
        drop(held);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
