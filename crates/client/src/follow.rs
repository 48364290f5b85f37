//! Follows one service: opens a watch, reads the list, and reads it again whenever the watch says that something changed.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portolan_api::{Line, ServiceDetail};
use tokio::time::{Instant, sleep, timeout};

use crate::client::Inner;
use crate::discovery::{Followed, Listing, Source};
use crate::endpoint::{Endpoint, Service};
use crate::error::Error;
use crate::kept::File;

/// Servers send a line every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
/// Wait after the first failure, doubled after each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// And at most.
const LONGEST: Duration = Duration::from_secs(5);
/// A watch that lasted so long was one.
const LASTING: Duration = Duration::from_secs(1);
/// A line has at most so many bytes.
const LINE: usize = 64 << 20;
/// How long a server that is behind what was seen already may take to catch up.
const BEHIND: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(100);

/// Follows for ever.
pub(crate) async fn follow(client: Arc<Inner>, followed: Arc<Followed>) {
    let service = followed.service.clone();
    if let Some(kept) = client.kept.clone() {
        let loaded = tokio::task::spawn_blocking(move || kept.load(&service)).await;
        if let Ok(Some(File {
            revision,
            endpoints,
        })) = loaded
        {
            tell(
                &followed,
                Listing {
                    endpoints,
                    revision,
                    source: Source::Disk,
                },
            );
        }
    }
    let mut pause = PAUSE;
    let mut said = false;
    loop {
        let begun = Instant::now();
        match once(&client, &followed, &mut said).await {
            Ok(()) if begun.elapsed() > LASTING => pause = PAUSE,
            // A connection that is cut at once is no better than none.
            Ok(()) => {
                sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
                pause = (pause * 2).min(LONGEST);
            }
            Err(error) => {
                followed.set_lost(true);
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(service = %followed.service, %error, "a service cannot be followed; what is known of it stays");
                }
                // Not all clients at once.
                sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

/// Follows until the connection ends; an error when it never began.
async fn once(client: &Inner, followed: &Followed, said: &mut bool) -> Result<(), Error> {
    let service = &followed.service;
    let path = format!("/v1/watch?{}", parameters("service", service));
    let (base, response) = client
        .servers
        .send(&Method::GET, &path, &Bytes::new())
        .await?;
    let mut lines = Lines {
        body: response.into_body(),
        buffer: BytesMut::new(),
    };
    let mut known = read(client, followed).await?;
    followed.set_lost(false);
    if std::mem::take(said) {
        tracing::info!(%service, server = base, "a service is followed again");
    }
    while let Ok(Some(line)) = timeout(SILENCE, lines.next()).await {
        match line {
            Line::Event { revision, .. } if revision > known => {
                match read(client, followed).await {
                    Ok(revision) => known = revision,
                    Err(_) => break,
                }
            }
            Line::End { .. } => break,
            Line::Event { .. } | Line::Start { .. } | Line::Idle { .. } => {}
        }
    }
    Ok(())
}

/// Reads the list, tells it, and says of which revision it is.
async fn read(client: &Inner, followed: &Followed) -> Result<u64, Error> {
    let service = &followed.service;
    let name = utf8_percent_encode(&service.name, NON_ALPHANUMERIC);
    let path = format!("/v1/services/{name}?{}", parameters("", service));
    let before = followed.listing.borrow().clone();
    let mut waited = Duration::ZERO;
    let listing = loop {
        let listing = match client.servers.ask(Method::GET, &path, None::<&()>).await {
            Ok(detail) => {
                let detail: ServiceDetail = detail;
                Listing {
                    endpoints: detail.endpoints.into_iter().map(Endpoint::from).collect(),
                    revision: detail.revision,
                    source: Source::Server,
                }
            }
            // Nobody is registered.
            Err(error) if error.is_not_found() => Listing {
                endpoints: Vec::new(),
                revision: before.revision,
                source: Source::Server,
            },
            Err(error) => return Err(error),
        };
        // Another server may not have come as far yet; if it does not, the catalog was restored.
        if listing.revision >= before.revision || waited >= BEHIND {
            break listing;
        }
        sleep(LOOK).await;
        waited += LOOK;
    };
    let revision = listing.revision;
    if listing.endpoints != before.endpoints {
        keep(client, service, &listing);
    }
    tell(followed, listing);
    Ok(revision)
}

fn keep(client: &Inner, service: &Service, listing: &Listing) {
    if let Some(kept) = client.kept.clone() {
        let service = service.clone();
        let file = File {
            revision: listing.revision,
            endpoints: listing.endpoints.clone(),
        };
        tokio::task::spawn_blocking(move || kept.store(&service, &file));
    }
}

/// Says what is known, to whom it is news.
fn tell(followed: &Followed, listing: Listing) {
    followed.listing.send_if_modified(|told| {
        let news = told.endpoints != listing.endpoints || told.source != listing.source;
        // A new revision alone is no news, but the next one is compared with it.
        *told = Arc::new(listing);
        news
    });
}

fn parameters(with: &str, service: &Service) -> String {
    let part = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let mut text = format!(
        "namespace={}&group={}",
        part(&service.namespace),
        part(&service.group)
    );
    if !with.is_empty() {
        text.push_str(&format!("&{with}={}", part(&service.name)));
    }
    text
}

/// The lines of a watch.
struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    /// The next one; none when the connection has ended or what comes makes no sense.
    async fn next(&mut self) -> Option<Line> {
        let mut looked = 0;
        loop {
            let end = self.buffer[looked..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let line = self.buffer.split_to(looked + end + 1);
                return serde_json::from_slice(&line).ok();
            }
            looked = self.buffer.len();
            if looked > LINE {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
