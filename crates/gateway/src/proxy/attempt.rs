//! One attempt at one endpoint.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use portolan_balance::Outcome;
use tokio::time::timeout;

use crate::body::{Outbound, Progress};
use crate::error::Failure;
use crate::front::worker::Worker;
use crate::upstream::{Cluster, Endpoint, Http1, Http2, open_http1, open_http2};

/// An answer's head is there.
pub(crate) struct Sent {
    pub(crate) response: Response<Incoming>,
    /// The connection, for the next request.
    pub(crate) link: Option<Http1>,
}

/// There is no answer.
pub(crate) struct Lost {
    pub(crate) failure: Failure,
    /// The request, where it may be tried once more: nothing of it was done, or it may be done twice.
    pub(crate) request: Option<Request<Outbound>>,
    /// The endpoint is at fault.
    pub(crate) fault: bool,
}

/// What a failure says of the endpoint.
pub(crate) fn outcome(failure: &Failure, took: Duration) -> Outcome {
    match failure {
        Failure::Timeout(_) => Outcome::Failed(took),
        _ => Outcome::Unreachable,
    }
}

/// One attempt.
pub(crate) struct Attempt<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) cluster: &'a Rc<Cluster>,
    pub(crate) endpoint: &'a Rc<Endpoint>,
    pub(crate) limit: Duration,
    pub(crate) http2: bool,
    pub(crate) progress: &'a Rc<Progress>,
}

type Result<T> = std::result::Result<T, Lost>;

impl Attempt<'_> {
    fn name(&self) -> String {
        self.cluster.name.to_string()
    }

    /// Sends a request. `spare` is the same once more, if it may be done twice.
    pub(crate) async fn send(
        &mut self,
        request: Request<Outbound>,
        spare: Option<Request<Outbound>>,
    ) -> Result<Sent> {
        if self.endpoint.secure.get() {
            return Err(Lost {
                failure: Failure::Secure(self.name()),
                request: None,
                fault: false,
            });
        }
        match self.http2 {
            true => self.over_http2(request, spare).await,
            false => self.over_http1(request, spare).await,
        }
    }

    /// There is no connection, and so nothing of the request was done.
    fn unreached(&self, request: Request<Outbound>, error: &std::io::Error) -> Lost {
        let (service, endpoint) = (&*self.cluster.name, &*self.endpoint.address);
        tracing::debug!(service, endpoint, %error, "an endpoint cannot be reached");
        Lost {
            failure: Failure::Connect(self.name()),
            request: Some(request),
            fault: true,
        }
    }

    fn full(&self, request: Request<Outbound>) -> Lost {
        drop(request);
        Lost {
            failure: Failure::Full(self.name()),
            request: None,
            fault: false,
        }
    }

    async fn over_http1(
        &mut self,
        mut request: Request<Outbound>,
        mut spare: Option<Request<Outbound>>,
    ) -> Result<Sent> {
        loop {
            let kept = self.endpoint.take_idle().await;
            let fresh = kept.is_none();
            let mut link = match kept {
                Some(link) => link,
                None => {
                    let place = self.cluster.breaker.borrow_mut().connect();
                    if place.is_err() {
                        return Err(self.full(request));
                    }
                    let limit = self.worker.gateway.settings.connect_timeout;
                    match open_http1(self.cluster, &self.endpoint.host, self.endpoint.port, limit)
                        .await
                    {
                        Ok(link) => link,
                        Err(error) => return Err(self.unreached(request, &error)),
                    }
                }
            };
            let answer = link.sender.try_send_request(request);
            match self.wait(answer).await? {
                Ok(response) => {
                    return Ok(Sent {
                        response,
                        link: Some(link),
                    });
                }
                Err(mut error) => {
                    let unsent = error.take_message();
                    let unsent = unsent.filter(|_| !self.progress.begun.get());
                    // A connection that was kept may have been closed meanwhile: that is nobody's fault.
                    match unsent.or_else(|| spare.take()) {
                        Some(again) if !fresh => request = again,
                        again => return Err(self.broken(again, error.error())),
                    }
                }
            }
        }
    }

    async fn over_http2(
        &mut self,
        mut request: Request<Outbound>,
        mut spare: Option<Request<Outbound>>,
    ) -> Result<Sent> {
        loop {
            let kept = self.endpoint.http2();
            let fresh = kept.is_none();
            let mut link = match kept {
                Some(link) => link,
                None => match self.connect_http2().await {
                    Some(Ok(link)) => link,
                    Some(Err(error)) => return Err(self.unreached(request, &error)),
                    None => return Err(self.full(request)),
                },
            };
            link.touch();
            let answer = link.sender.try_send_request(request);
            match self.wait(answer).await? {
                Ok(response) => {
                    return Ok(Sent {
                        response,
                        link: None,
                    });
                }
                Err(mut error) => {
                    let unsent = error.take_message();
                    let unsent = unsent.filter(|_| !self.progress.begun.get());
                    match unsent.or_else(|| spare.take()) {
                        Some(again) if !fresh => request = again,
                        again => return Err(self.broken(again, error.error())),
                    }
                }
            }
        }
    }

    /// The connection of HTTP/2, one that somebody else opens meanwhile included; none when there are too many.
    async fn connect_http2(&self) -> Option<std::io::Result<Http2>> {
        let _turn = self.endpoint.opening.lock().await;
        if let Some(link) = self.endpoint.http2() {
            return Some(Ok(link));
        }
        self.cluster.breaker.borrow_mut().connect().ok()?;
        let limit = self.worker.gateway.settings.connect_timeout;
        let (host, port) = (&self.endpoint.host, self.endpoint.port);
        let opened = open_http2(self.cluster, host, port, limit).await;
        if let Ok(link) = &opened {
            self.endpoint.keep_http2(link);
        }
        Some(opened)
    }

    fn broken(&self, request: Option<Request<Outbound>>, error: &hyper::Error) -> Lost {
        if self.progress.broken.get() {
            return Lost {
                failure: Failure::Bad("the body of the request did not arrive"),
                request: None,
                fault: false,
            };
        }
        let (service, endpoint) = (&*self.cluster.name, &*self.endpoint.address);
        tracing::debug!(service, endpoint, %error, "an endpoint did not answer");
        Lost {
            failure: Failure::Broken(self.name()),
            request,
            fault: true,
        }
    }

    /// Waits for the head of an answer. While parts of the request's body go through, time begins anew.
    async fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T> {
        let mut answer = pin!(answer);
        let mut seen = 0;
        loop {
            if let Ok(answer) = timeout(self.limit, answer.as_mut()).await {
                return Ok(answer);
            }
            let frames = self.progress.frames.get();
            if frames == seen {
                let uploading = self.progress.begun.get() && !self.progress.done.get();
                return Err(Lost {
                    failure: Failure::Timeout(self.name()),
                    request: None,
                    fault: !uploading,
                });
            }
            seen = frames;
        }
    }
}
