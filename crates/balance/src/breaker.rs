//! Breakers: how much a service is asked at a time.

/// The bounds of one service. All default to 1,024, as Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breakers {
    /// Requests under way.
    pub requests: usize,
    /// Connections, those being opened included.
    pub connections: usize,
}

impl Default for Breakers {
    fn default() -> Breakers {
        Breakers {
            requests: 1024,
            connections: 1024,
        }
    }
}

/// A bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// That of requests.
    Requests,
    /// That of connections.
    Connections,
}

/// What of a service is under way, and the bounds of it.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    bounds: Breakers,
    requests: usize,
    connections: usize,
}

impl Breaker {
    /// Nothing under way.
    pub fn new(bounds: Breakers) -> Breaker {
        Breaker {
            bounds,
            ..Breaker::default()
        }
    }

    /// Other bounds from now on; what is under way stays.
    pub fn set_bounds(&mut self, bounds: Breakers) {
        self.bounds = bounds;
    }

    /// A request begins.
    ///
    /// # Errors
    /// When there are too many.
    pub fn begin(&mut self) -> Result<(), Full> {
        if self.requests >= self.bounds.requests {
            return Err(Full::Requests);
        }
        self.requests += 1;
        Ok(())
    }

    /// A request that began is over.
    pub fn end(&mut self) {
        self.requests = self.requests.saturating_sub(1);
    }

    /// A connection is opened.
    ///
    /// # Errors
    /// When there are too many.
    pub fn connect(&mut self) -> Result<(), Full> {
        if self.connections >= self.bounds.connections {
            return Err(Full::Connections);
        }
        self.connections += 1;
        Ok(())
    }

    /// A connection that was opened is closed, or was never made.
    pub fn disconnect(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    /// Requests under way.
    pub fn requests(&self) -> usize {
        self.requests
    }
}
