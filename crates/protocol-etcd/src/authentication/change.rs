//! One change of users, roles or the switch.

use portolan_catalog::{Command, Refusal, Revision, Settled, State};
use portolan_listener::{Action, Resource};

use crate::{
    app::{App, allow},
    asker::Asker,
    auth::rows::{self, Changes, Head},
    error::{Code, Failure, TOO_MANY_REQUESTS},
};

/// Times that a change is worked out again because another one was faster. One of them always gets through.
const ATTEMPTS: usize = 256;

/// What a change comes to.
pub(super) enum Changed {
    /// It is so already.
    Nothing,
    /// Users and roles stay, and etcd's count of their changes with them.
    Switch,
    /// These rows become others.
    Rows(Changes),
}

/// Makes a change that only whoever has the role `root` may make, and gives the revision at which it holds. `work` looks at a state and its
/// head, which it may change.
pub(super) async fn change(
    app: &App,
    asker: &Asker,
    work: impl Fn(&State, &mut Head) -> Result<Changed, Failure>,
) -> Result<Revision, Failure> {
    allow(asker, Action::Admin, Resource::Operator)?;
    for _ in 0..ATTEMPTS {
        let state = app.state(false).await?;
        app.auth.who(&state, asker)?.manages()?;
        let mut head = rows::head(&state);
        let changes = match work(&state, &mut head)? {
            Changed::Nothing => return Ok(state.revision()),
            Changed::Switch => Changes::default(),
            Changed::Rows(changes) => {
                head.revision += 1;
                changes
            }
        };
        let before = rows::head_record(&state).map(|record| record.modified);
        let write = changes.write(&head, before).map_err(|why| {
            let text = format!("etcdserver: users and roles cannot be written: {why}");
            Failure::saying(Code::Internal, text)
        })?;
        let Settled { revision, outcome } = app.propose(asker, Command::Write(write)).await?;
        match outcome {
            Ok(_) => return Ok(revision),
            // Somebody else's change came first.
            Err(Refusal::Changed(_) | Refusal::Exists | Refusal::NoKey) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(TOO_MANY_REQUESTS)
}
