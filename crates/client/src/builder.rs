//! How a client is made.

use std::path::PathBuf;
use std::time::Duration;

use portolan_https::Trust;

use crate::client::Client;
use crate::error::Error;
use crate::kept::Kept;
use crate::servers::Servers;

/// Makes a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    servers: Vec<String>,
    token: Option<String>,
    trust: Trust,
    patience: Duration,
    cache: Option<PathBuf>,
    pub(crate) linger: Duration,
    pub(crate) region: String,
    pub(crate) zone: String,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            servers: Vec::new(),
            token: None,
            trust: Trust::default(),
            patience: Duration::from_secs(2),
            cache: None,
            linger: Duration::from_secs(1),
            region: String::new(),
            zone: String::new(),
        }
    }
}

impl Builder {
    /// One more server, or the agent of this machine: the address of its native port, such as `http://127.0.0.1:7500`, or with `https`. The
    /// first one is asked until it does not answer, then the next. Default: the addresses in the environment variable `PORTOLAN_SERVER`,
    /// separated by commas, else `http://127.0.0.1:7500`.
    pub fn server(mut self, server: &str) -> Builder {
        self.servers.push(server.to_owned());
        self
    }

    /// The token to show. Default: the environment variable `PORTOLAN_TOKEN`, else none.
    pub fn token(mut self, token: &str) -> Builder {
        self.token = Some(token.to_owned());
        self
    }

    /// Whom to trust behind `https`, and what to show. Default: the authorities of this machine, and nothing.
    pub fn trust(mut self, trust: Trust) -> Builder {
        self.trust = trust;
        self
    }

    /// How long a server may take to answer before the next one is asked. Default 2 s.
    pub fn patience(mut self, patience: Duration) -> Builder {
        self.patience = patience;
        self
    }

    /// A directory in which the last list of every discovered service is kept, for a start at which no server answers. Default: none.
    pub fn cache(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.cache = Some(directory.into());
        self
    }

    /// How long after everything was deregistered [`Client::ended`] waits: whoever was about to call gets an answer. Default 1 s; more for callers
    /// that ask now and then, such as Eureka's and those of DNS.
    pub fn linger(mut self, linger: Duration) -> Builder {
        self.linger = linger;
        self
    }

    /// Where this process runs: endpoints of its zone are asked first, then those of its region. Default: nowhere, all are equal.
    pub fn place(mut self, region: &str, zone: &str) -> Builder {
        region.clone_into(&mut self.region);
        zone.clone_into(&mut self.zone);
        self
    }

    /// The client. No server is asked yet.
    ///
    /// # Errors
    /// [`Error::Setup`] for an address that is none, and for a certificate or a directory that cannot be used.
    pub fn build(mut self) -> Result<Client, Error> {
        if self.servers.is_empty() {
            let named = variable("PORTOLAN_SERVER");
            let named = named.as_deref().unwrap_or("http://127.0.0.1:7500");
            self.servers = named.split(',').map(|one| one.trim().to_owned()).collect();
        }
        let token = self.token.clone().or_else(|| variable("PORTOLAN_TOKEN"));
        let servers = std::mem::take(&mut self.servers);
        let servers = Servers::new(servers, token, &self.trust, self.patience)?;
        let kept = self.cache.take().map(Kept::open).transpose()?;
        Ok(Client::new(servers, kept, self))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
