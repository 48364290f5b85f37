//! As-of time: `at=` as a revision, a time, or the time of day.

use std::sync::Arc;

use jiff::civil;
use jiff::tz::TimeZone;
use portolan_api::Moment;
use portolan_catalog::{KeyRange, Keyspace, Revision, ServiceKey, State, Timestamp};
use portolan_listener::{Action, Caller, Params, Request, Resource};
use portolan_registry::{Damage, NotThen, Past, Registry};

use crate::App;
use crate::error::{Answer, Failure};
use crate::query::Query;
use crate::reply::json;

/// RFC 3339 in UTC, milliseconds where there are any.
pub(crate) fn print(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| at.0.to_string(), |time| time.to_string())
}

/// The time of day, UTC, for sentences.
pub(crate) fn clock(at: Timestamp) -> String {
    let text = print(at);
    let time = text.split_once('T').map_or(&*text, |(_, time)| time);
    time.get(..8).unwrap_or(time).to_owned()
}

/// A duration as people say it.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1e3),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// What `at` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Revision(Revision),
    Time(Timestamp),
}

/// Reads a revision, an RFC 3339 time, or `HH:MM[:SS]` (UTC; the last such time before now).
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<At, Failure> {
    if let Ok(revision) = text.parse() {
        return Ok(At::Revision(Revision(revision)));
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(At::Time(Timestamp(
            u64::try_from(time.as_millisecond()).unwrap_or(0),
        )));
    }
    let wrong = || {
        Failure::bad(format!(
            "at={text:?} is neither a revision nor a time such as 2026-01-31T03:12:00Z or 03:12 (UTC)"
        ))
    };
    let time: civil::Time = text.parse().map_err(|_| wrong())?;
    let now_ms = i64::try_from(now.0).map_err(|_| wrong())?;
    let today = jiff::Timestamp::from_millisecond(now_ms)
        .map_err(|_| wrong())?
        .to_zoned(TimeZone::UTC)
        .date();
    let on = |date: civil::Date| {
        date.to_datetime(time)
            .to_zoned(TimeZone::UTC)
            .map(|zoned| zoned.timestamp().as_millisecond())
    };
    let mut ms = on(today).map_err(|_| wrong())?;
    if ms > now_ms {
        ms = today.yesterday().and_then(on).map_err(|_| wrong())?;
    }
    Ok(At::Time(Timestamp(u64::try_from(ms).unwrap_or(0))))
}

/// The revision that was current then.
pub(crate) fn revision(registry: &Registry, at: At, now: Timestamp) -> Result<Revision, Failure> {
    let time = match at {
        At::Revision(Revision(0)) => {
            return Err(Failure::bad(
                "there is no revision 0; an empty catalog is at revision 1",
            ));
        }
        At::Revision(revision) => return Ok(revision),
        At::Time(time) => time,
    };
    if time > now {
        return Err(Failure::not_found(format!(
            "{} has not come yet",
            print(time)
        )));
    }
    let floor = registry.floor(None);
    let found = registry.history().revision_at(time)?;
    match found.filter(|revision| *revision >= floor) {
        Some(revision) => Ok(revision),
        None if floor <= Revision::FIRST => Ok(Revision::FIRST),
        None => Err(Failure::from(NotThen::Compacted(floor))),
    }
}

/// Which rows of an earlier state are asked for: others are not worked out.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// All but records.
    All,
    /// All, and the records of a keyspace where they are still kept.
    AllWith(Keyspace),
    /// One service with everything that belongs to it.
    Service(ServiceKey),
    /// Records of one keyspace.
    Records(Keyspace, KeyRange),
}

impl Rows {
    /// The keyspace whose floor counts.
    fn space(&self) -> Option<Keyspace> {
        match self {
            Rows::All | Rows::AllWith(_) | Rows::Service(_) => None,
            Rows::Records(space, _) => Some(*space),
        }
    }

    fn of(&self, past: &Past) -> Result<State, Damage> {
        match self {
            Rows::All => past.everything(None),
            Rows::AllWith(space) => {
                let kept = past.at(Some(*space), past.revision()).is_ok();
                past.everything(kept.then_some(*space))
            }
            Rows::Service(service) => past.service(service),
            Rows::Records(space, range) => past.records(*space, range),
        }
    }
}

/// The state that a request asks for: the present one, or the one of `at=`, of which `rows` are right. Working it out may take a while,
/// and so is done beside the threads that serve.
pub(crate) async fn state(
    registry: &Registry,
    query: &Query,
    rows: Rows,
) -> Result<Arc<State>, Failure> {
    let present = registry.snapshot();
    let Some(text) = query.get("at") else {
        return Ok(present);
    };
    let now = registry.now().max(present.last_at());
    let past = then(registry, rows.space(), parse(text, now)?, now)?;
    let found = match rows {
        // A few rows: cheaper than to change the thread.
        Rows::Service(_) if past.is_in_memory() => rows.of(&past)?,
        rows => {
            let worked = portolan_environment::blocking(move || rows.of(&past)).await;
            worked
                .map_err(|_| Failure::unavailable("the earlier state could not be worked out"))??
        }
    };
    Ok(Arc::new(found))
}

/// The past as of a moment.
fn then(
    registry: &Registry,
    space: Option<Keyspace>,
    at: At,
    now: Timestamp,
) -> Result<Past, Failure> {
    let revision = revision(registry, at, now)?;
    let past = registry.past(space, revision)?;
    let At::Time(time) = at else {
        return Ok(past);
    };
    if revision > Revision::FIRST {
        return Ok(past);
    }
    // The first revision is the server's own registration. Before that there was no catalog, not an empty one.
    let began = past
        .present()
        .all_instances()
        .map(|row| row.created_at)
        .min();
    match began.filter(|began| time < *began) {
        Some(began) => Err(Failure::not_found(format!(
            "there was no catalog at {}: it begins at {}",
            print(time),
            print(began)
        ))),
        None => Ok(past),
    }
}

/// `GET /v1/at?at=`: the revision that an as-of time means.
pub(crate) async fn at(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Services)?;
    let query = Query::of(&request, &["at"])?;
    let present = app.registry.snapshot();
    let now = app.registry.now().max(present.last_at());
    let at = match query.get("at") {
        Some(text) => parse(text, now)?,
        None => At::Revision(present.revision()),
    };
    let then = then(&app.registry, None, at, now)?;
    let batch = app.registry.history().batch(then.revision())?;
    Ok(json(&Moment {
        revision: then.revision().0,
        at: batch.map(|batch| print(batch.at)),
        current: present.revision().0,
        floor: app.registry.floor(None).max(Revision::FIRST).0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_of_takes_revisions_times_and_times_of_day() {
        // 2023-11-14T22:13:20Z
        let now = Timestamp(1_700_000_000_000);
        let rows = [
            ("42", Some(At::Revision(Revision(42)))),
            ("2023-11-14T22:13:20Z", Some(At::Time(now))),
            ("2023-11-14T23:13:20+01:00", Some(At::Time(now))),
            // As the command line prints it.
            ("2023-11-14 22:13:20Z", Some(At::Time(now))),
            ("22:13:20", Some(At::Time(now))),
            ("22:13", Some(At::Time(Timestamp(now.0 - 20_000)))),
            (
                "22:14",
                Some(At::Time(Timestamp(now.0 + 40_000 - 86_400_000))),
            ),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text, now).ok(), expected, "{text}");
        }
        assert_eq!(print(now), "2023-11-14T22:13:20Z");
        assert_eq!(clock(now), "22:13:20");
    }
}
