//! Alarms: raised and lifted by operators, kept as records of the settings keyspace, and in force for every server.
//!
//! A data directory beyond its quota raises `NOSPACE` as a record (`maintenance::quota`). A disk without room raises `NOSPACE` by itself on the server that has it; it goes with the next write that succeeds, and is not a record.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use portolan_catalog::{Command, Expect, Key, KeyRange, Keyspace, Op, Put, State, Write};
use portolan_listener::{Action, Resource};

use crate::{
    app::{App, allow, done},
    asker::Asker,
    error::{CORRUPT, Failure, NO_SPACE},
    grpc,
    wire::etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmResponse, AlarmType, alarm_request::AlarmAction,
    },
};

const ROOT: &str = "etcd/alarm/";

/// Refuses what needs space while a NOSPACE alarm is in force.
pub(crate) fn check_space(state: &State) -> Result<(), Failure> {
    if raised(state).any(|alarm| alarm.alarm == AlarmType::Nospace as i32) {
        Err(NO_SPACE)
    } else {
        not_corrupt(state)
    }
}

/// Refuses everything while an alarm says that the data is not to be trusted.
pub(crate) fn not_corrupt(state: &State) -> Result<(), Failure> {
    if raised(state).any(|alarm| alarm.alarm == AlarmType::Corrupt as i32) {
        Err(CORRUPT)
    } else {
        Ok(())
    }
}

/// The alarms that are records.
pub(crate) fn raised(state: &State) -> impl Iterator<Item = AlarmMember> {
    static ALARMS: OnceLock<KeyRange> = OnceLock::new();
    let alarms = ALARMS.get_or_init(|| KeyRange::prefix(ROOT.as_bytes()));
    // Nearly always there is no setting at all, and this is asked on every write.
    let any = state.record_count(Keyspace::Settings) > 0;
    any.then(|| state.range(Keyspace::Settings, alarms))
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| {
            let (kind, member) = key.as_text()?.strip_prefix(ROOT)?.split_once('/')?;
            Some(AlarmMember {
                member_id: member.parse().ok()?,
                alarm: AlarmType::from_str_name(kind)? as i32,
            })
        })
}

/// All alarms, the disk's included.
pub(crate) fn all(app: &App, state: &State) -> Vec<AlarmMember> {
    let mut alarms: Vec<_> = raised(state).collect();
    let own = AlarmMember {
        member_id: app.settings.member_id,
        alarm: AlarmType::Nospace as i32,
    };
    if app.standing().disk_full && !alarms.contains(&own) {
        alarms.push(own);
    }
    alarms
}

fn key(alarm: &AlarmMember) -> Key {
    let kind = AlarmType::try_from(alarm.alarm).unwrap_or_default();
    Key::from(format!("{ROOT}{}/{}", kind.as_str_name(), alarm.member_id).as_str())
}

/// The command that raises an alarm, if it is not raised.
pub(crate) fn raise(alarm: &AlarmMember) -> Command {
    Command::Write(Write::one(Op::Put(Box::new(Put {
        quiet: true,
        ..Put::new(Keyspace::Settings, key(alarm), Bytes::new())
    }))))
}

pub(crate) async fn alarm(
    app: Arc<App>,
    caller: Asker,
    request: AlarmRequest,
) -> Result<Bytes, Failure> {
    let action = AlarmAction::try_from(request.action);
    let get = matches!(action, Ok(AlarmAction::Get));
    allow(
        &caller,
        if get { Action::Read } else { Action::Admin },
        Resource::Operator,
    )?;
    let who = app.who(&caller)?;
    if get {
        who.is_known()?;
    } else {
        who.manages()?;
    }
    let state = app.state(false).await?;
    let alarm = AlarmMember {
        member_id: request.member_id,
        alarm: request.alarm,
    };
    let known = AlarmType::try_from(request.alarm).is_ok_and(|kind| kind != AlarmType::None);
    let is_raised = raised(&state).any(|raised| raised == alarm);
    let (revision, alarms) = match action {
        Ok(AlarmAction::Get) => {
            let asked = |alarm: &AlarmMember| {
                request.alarm == AlarmType::None as i32 || alarm.alarm == request.alarm
            };
            (
                state.revision(),
                all(&app, &state).into_iter().filter(asked).collect(),
            )
        }
        Ok(AlarmAction::Activate) if known => {
            let (revision, _) = done(app.propose(&caller, raise(&alarm)).await?)?;
            (revision, vec![alarm])
        }
        Ok(AlarmAction::Deactivate) if is_raised => {
            let op = Op::Delete {
                space: Keyspace::Settings,
                range: KeyRange::One(key(&alarm)),
                expect: Expect::Any,
            };
            let (revision, _) = done(app.propose(&caller, Command::Write(Write::one(op))).await?)?;
            (revision, vec![alarm])
        }
        Ok(AlarmAction::Activate | AlarmAction::Deactivate) | Err(_) => {
            (state.revision(), Vec::new())
        }
    };
    Ok(grpc::frame(&AlarmResponse {
        header: Some(app.header(revision)),
        alarms,
    }))
}
