//! What is kept of a request until it is over: what it occupies, and what the access log says of it.

use std::cell::RefCell;
use std::rc::Rc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use portolan_balance::Full;
use serde_json::json;
use tokio::time::Instant;

use crate::body::Finish;
use crate::client::Client;
use crate::front::worker::Worker;
use crate::trace;
use crate::upstream::{Chosen, Cluster, Endpoint, Http1};

/// What the access log says.
#[derive(Debug)]
struct Line {
    began: Instant,
    method: http::Method,
    uri: http::Uri,
    host: Option<http::HeaderValue>,
    agent: Option<http::HeaderValue>,
    trace: Option<http::HeaderValue>,
    version: http::Version,
    endpoint: Option<Rc<Endpoint>>,
    retries: u32,
    status: u16,
    error: Option<&'static str>,
    to_head: Option<std::time::Duration>,
}

/// A request under way. Whatever becomes of it, what it occupied is free when this is dropped, and a line is written.
#[derive(Debug)]
pub(crate) struct Open {
    of: Option<(Rc<Worker>, Rc<Client>)>,
    cluster: Option<Rc<Cluster>>,
    line: Option<Box<Line>>,
    bytes: u64,
    aborted: bool,
}

impl Open {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        request: &Request<Incoming>,
    ) -> Open {
        client.shared.begin();
        let line = worker.gateway.log.as_ref().map(|_| {
            let field = |name: &str| request.headers().get(name).cloned();
            Box::new(Line {
                began: Instant::now(),
                method: request.method().clone(),
                uri: request.uri().clone(),
                host: field("host"),
                agent: field("user-agent"),
                trace: None,
                version: request.version(),
                endpoint: None,
                retries: 0,
                status: 0,
                error: None,
                to_head: None,
            })
        });
        Open {
            of: Some((worker.clone(), client.clone())),
            cluster: None,
            line,
            bytes: 0,
            // Until somebody says otherwise, the client went away.
            aborted: true,
        }
    }

    /// One that occupies nothing.
    pub(crate) fn none() -> Open {
        Open {
            of: None,
            cluster: None,
            line: None,
            bytes: 0,
            aborted: false,
        }
    }

    /// It is for a service.
    pub(crate) fn enter(&mut self, cluster: &Rc<Cluster>) -> Result<(), Full> {
        cluster.breaker.borrow_mut().begin()?;
        self.cluster = Some(cluster.clone());
        Ok(())
    }

    /// Its trace is known.
    pub(crate) fn traced(&mut self, headers: &http::HeaderMap) {
        if let Some(line) = &mut self.line {
            line.trace = headers.get(trace::FIELD).cloned();
        }
    }

    /// It is tried at an endpoint.
    pub(crate) fn at(&mut self, endpoint: &Rc<Endpoint>) {
        if let Some(line) = &mut self.line {
            line.endpoint = Some(endpoint.clone());
        }
    }

    pub(crate) fn retried(&mut self) {
        if let Some(line) = &mut self.line {
            line.retries += 1;
        }
    }

    /// The head of an answer is there.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        if let Some(line) = &mut self.line {
            line.status = status.as_u16();
            line.to_head = Some(line.began.elapsed());
        }
    }

    /// The gateway answers itself.
    pub(crate) fn failed(&mut self, status: StatusCode, word: &'static str) {
        self.answered(status);
        if let Some(line) = &mut self.line {
            line.error = Some(word);
        }
    }

    /// It is over.
    pub(crate) fn over(&mut self, through: bool, bytes: u64) {
        (self.aborted, self.bytes) = (!through, bytes);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(cluster) = &self.cluster {
            cluster.breaker.borrow_mut().end();
        }
        let Some((worker, client)) = self.of.take() else {
            return;
        };
        client.shared.end();
        let (Some(line), Some(log)) = (self.line.take(), &worker.gateway.log) else {
            return;
        };
        let text = |value: &Option<http::HeaderValue>| {
            let value = value.as_ref()?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let ms = |time: std::time::Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let trace = line.trace.as_ref();
        let trace = trace.and_then(|value| trace::trace_id(value.as_bytes()).map(str::to_owned));
        let authority = line.uri.authority().map(ToString::to_string);
        let entry = json!({
            "time_ms": portolan_environment::wall_ms(),
            "client": client.peer.to_string(),
            "protocol": format!("{:?}", line.version),
            "method": line.method.as_str(),
            "host": authority.or_else(|| text(&line.host)),
            "path": line.uri.path(),
            "query": line.uri.query(),
            "service": self.cluster.as_ref().map(|cluster| &*cluster.name),
            "endpoint": line.endpoint.as_ref().map(|endpoint| &*endpoint.address),
            "status": line.status,
            "bytes": self.bytes,
            "retries": line.retries,
            "error": line.error,
            "aborted": self.aborted,
            "head_ms": line.to_head.map(ms),
            "total_ms": ms(line.began.elapsed()),
            "trace": trace,
            "user_agent": text(&line.agent),
        });
        log.line(entry.to_string());
    }
}

impl Finish for Open {
    fn through(mut self: Box<Self>, bytes: u64) {
        self.over(true, bytes);
    }

    fn broken(mut self: Box<Self>, bytes: u64) {
        self.over(false, bytes);
    }
}

/// An answer under way.
pub(crate) struct Record {
    pub(crate) worker: Rc<Worker>,
    pub(crate) chosen: Chosen,
    pub(crate) link: Option<Http1>,
    pub(crate) open: RefCell<Open>,
}

impl Finish for Record {
    fn through(self: Box<Self>, bytes: u64) {
        self.open.borrow_mut().over(true, bytes);
        let Record {
            worker,
            chosen,
            link,
            ..
        } = *self;
        if let Some(link) = link.filter(|_| !worker.is_draining()) {
            let most = worker.gateway.settings.upstream_idle_connections;
            chosen.endpoint.keep(link, most);
        }
    }

    fn broken(self: Box<Self>, bytes: u64) {
        self.open.borrow_mut().over(false, bytes);
    }
}
