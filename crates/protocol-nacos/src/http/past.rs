//! The history of configurations over HTTP.

use portolan_listener::{Action, Response};

use super::catalog::paged;
use super::params::Asked;
use crate::app::allow_config;
use crate::config::history;
use crate::error::Problem;
use crate::read::page;

type Answer = Result<Response, Problem>;

/// A page of events, or one of them when there is a number.
pub(crate) async fn history(asked: Asked) -> Answer {
    match asked.any(&["nid", "id"]) {
        Some(_) => one(asked, false).await,
        None => list(asked).await,
    }
}

pub(crate) async fn list(asked: Asked) -> Answer {
    let key = asked.config()?;
    allow_config(&asked.caller, Action::Read, &key.record())?;
    let wanted = asked.page(100)?;
    let (all, count) = history::list(&asked.app.registry, key).await?;
    let (events, _) = page(all, wanted.0, wanted.1);
    let shown: Vec<_> = events
        .iter()
        .filter_map(|event| event.shown(false))
        .collect();
    Ok(asked.form.data(&paged(&shown, count, wanted)))
}

pub(crate) async fn previous(asked: Asked) -> Answer {
    one(asked, true).await
}

async fn one(asked: Asked, previous: bool) -> Answer {
    let key = asked.config()?;
    allow_config(&asked.caller, Action::Read, &key.record())?;
    let number = match asked.whole("nid")? {
        Some(number) => Some(number),
        None => asked.whole("id")?,
    };
    let number = number
        .and_then(|number| u64::try_from(number).ok())
        .ok_or(Problem::Missing("nid"))?;
    let event = history::one(&asked.app.registry, key, number, previous).await?;
    Ok(asked.form.data(&event.shown(true)))
}
