//! Request -> Command: register, renew, cancel, override, metadata.
//!
//! Eureka's rules look at the row that is there, so each command is worked out on a snapshot and proposed on condition
//! that the row is still the same; if it is not, it is worked out again.

use std::sync::Arc;

use portolan_catalog::{
    Admin, AdminStatus, AdminTarget, Cause, Command, Declared, Done, Instance, InstanceKey,
    Register, Revision, State, Target, Timestamp,
};
use portolan_registry::{Registry, Renewed};

use crate::error::Problem;
use crate::lease;
use crate::read::{self, Shown};
use crate::status;
use crate::translate;
use crate::wire::{self, Status};

/// How often a command is worked out again before the client is sent to try later.
const ATTEMPTS: usize = 16;

/// One client's call on one catalog.
pub(crate) struct Writer<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) cause: Cause,
    pub(crate) now: Timestamp,
}

/// What came of a renewal for a peer.
#[derive(Debug)]
pub(crate) enum Renewal {
    /// It is done.
    Done,
    /// It is done, and what is here is newer than what the peer has.
    Newer(Box<wire::Instance>),
}

/// What a registration amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Propose this.
    Register(Register),
    /// First take back a forced UP: the instance itself says that it is not.
    ClearFirst,
}

impl Writer<'_> {
    /// Registers an instance that passed [`wire::Instance::check_registration`].
    pub(crate) async fn register(&self, sent: &wire::Instance) -> Result<(), Problem> {
        let key = InstanceKey::eureka(&sent.app, sent.effective_id());
        for _ in 0..ATTEMPTS {
            let state = self.registry.snapshot();
            let command = match plan_registration(&state, sent, self.now) {
                Plan::Register(register) => Command::Register(Box::new(register)),
                Plan::ClearFirst => set_admin(&key, None, None),
            };
            let last = matches!(command, Command::Register(_));
            if self.settle(command).await?.is_some() && last {
                return Ok(());
            }
        }
        Err(Problem::Contended)
    }

    /// Renews a lease. `dirty` is the client's `lastDirtyTimestamp`.
    pub(crate) async fn renew(
        &self,
        app: &str,
        id: &str,
        dirty: Option<i64>,
    ) -> Result<(), Problem> {
        let (_, row) = self.renewable(&InstanceKey::eureka(app, id)).await?;
        self.keep_alive(&row).await?;
        match dirty {
            Some(dirty) if dirty > claim(&row) => Err(Problem::NotRegistered),
            Some(_) | None => Ok(()),
        }
    }

    /// An instance whose lease can be renewed, and the state it is in. A removed override leaves UNKNOWN behind, and that it cannot be
    /// renewed is how the client learns to register again.
    async fn renewable(&self, key: &InstanceKey) -> Result<(Arc<State>, Arc<Instance>), Problem> {
        let renewable = |state: &State| {
            let row = state.instance(key);
            row.filter(|row| status::of_own(row) != Status::Unknown)
                .cloned()
        };
        let known = |state: &State| renewable(state).is_some();
        let state = self.registry.latest_unless(known).await?;
        let row = renewable(&state).ok_or(Problem::NotRegistered)?;
        Ok((state, row))
    }

    /// Renews a lease for a peer, whose word about the instance may be older or newer than what is here.
    pub(crate) async fn renew_for_peer(
        &self,
        app: &str,
        id: &str,
        dirty: Option<i64>,
        overridden: Option<Status>,
    ) -> Result<Renewal, Problem> {
        let key = InstanceKey::eureka(app, id);
        let (state, row) = self.renewable(&key).await?;
        self.keep_alive(&row).await?;
        let held = claim(&row);
        match dirty {
            Some(dirty) if dirty > held => {
                // The peer wins, and with it what was imposed there; the whole record follows.
                let imposed = overridden.filter(|status| *status != Status::Unknown);
                if let Some(imposed) = imposed
                    && status::overridden(row.admin.as_deref()) != imposed
                {
                    let (admin, declares) = status::impose(imposed);
                    self.settle(set_admin(&key, Some(admin), declares)).await?;
                }
                Err(Problem::NotRegistered)
            }
            Some(dirty) if dirty < held => {
                let lease = row.lease.as_ref().and_then(|id| state.lease(id));
                let terms = lease.map(|lease| &lease.terms);
                let newer = translate::render_own(app, &row, terms);
                Ok(Renewal::Newer(Box::new(newer)))
            }
            Some(_) | None => Ok(Renewal::Done),
        }
    }

    /// Removes one of Eureka's own rows.
    pub(crate) async fn cancel_own(&self, app: &str, id: &str) -> Result<(), Problem> {
        let command = Command::Deregister {
            target: Target::Instance(InstanceKey::eureka(app, id)),
            expect: None,
        };
        match self.settle(command).await? {
            Some(Done::Nothing) => Err(Problem::NotFound),
            Some(_) | None => Ok(()),
        }
    }

    /// Removes an instance; of a foreign endpoint, everything registered for it.
    pub(crate) async fn cancel(&self, app: &str, id: &str) -> Result<(), Problem> {
        let shown = self.found(app, id, |_| true).await?;
        let target = match shown.foreign {
            None => Target::Instance(shown.row.key.clone()),
            Some(_) => Target::Endpoint(portolan_catalog::EndpointKey::of(&shown.row)),
        };
        let command = Command::Deregister {
            target,
            expect: None,
        };
        match self.settle(command).await? {
            Some(Done::Nothing) => Err(Problem::NotFound),
            Some(_) | None => Ok(()),
        }
    }

    /// Imposes a status.
    pub(crate) async fn impose(
        &self,
        app: &str,
        id: &str,
        value: Option<&str>,
        dirty: Option<i64>,
    ) -> Result<(), Problem> {
        let value = status_named(value.unwrap_or_default());
        let is_it = |shown: &Shown| value.as_ref().is_ok_and(|value| shown.status() == *value);
        let shown = self.found(app, id, |shown| !is_it(shown)).await?;
        let value = value?;
        if shown.foreign.is_none() {
            self.keep_alive(&shown.row).await?;
        }
        if shown.status() != value {
            let (admin, declares) = status::impose(value);
            self.settle(set_admin(&shown.row.key, Some(admin), declares))
                .await?;
        }
        match dirty {
            Some(dirty) if shown.foreign.is_none() => self.raise_claim(&shown.row.key, dirty).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Takes an imposed status back. Without one nothing happens.
    pub(crate) async fn release(
        &self,
        app: &str,
        id: &str,
        value: Option<&str>,
    ) -> Result<(), Problem> {
        let shown = self
            .found(app, id, |shown| shown.row.admin.is_some())
            .await?;
        let value = value.map_or(Ok(Status::Unknown), status_named)?;
        if shown.foreign.is_none() {
            self.keep_alive(&shown.row).await?;
        }
        if shown.row.admin.is_some() {
            // Only Eureka's own clients can be made to register again by an unknown status.
            let declares = shown.foreign.is_none().then(|| status::declared(value));
            self.settle(set_admin(&shown.row.key, None, declares))
                .await?;
        }
        Ok(())
    }

    /// Merges pairs into the metadata of one of Eureka's own rows. What other protocols registered is theirs to change.
    pub(crate) async fn merge_metadata(
        &self,
        app: &str,
        id: &str,
        pairs: &[(String, String)],
    ) -> Result<(), Problem> {
        let key = InstanceKey::eureka(app, id);
        self.rewrite(&key, |facts| {
            facts.meta = translate::merged(&facts.meta, pairs)
        })
        .await
    }

    async fn raise_claim(&self, key: &InstanceKey, dirty: i64) -> Result<(), Problem> {
        let dirty = u64::try_from(dirty).unwrap_or_default();
        self.rewrite(key, |facts| facts.claim = facts.claim.max(dirty))
            .await
    }

    /// Registers a row again with some facts changed, its lease started afresh. Equal facts are left alone.
    async fn rewrite(
        &self,
        key: &InstanceKey,
        change: impl Fn(&mut portolan_catalog::Registration),
    ) -> Result<(), Problem> {
        for _ in 0..ATTEMPTS {
            let changed = |row: &Instance| {
                let mut facts = (*row.facts).clone();
                change(&mut facts);
                facts
            };
            let differs = |row: &Arc<Instance>| changed(row) != *row.facts;
            let enough = |state: &State| state.instance(key).is_some_and(differs);
            let state = self.registry.latest_unless(enough).await?;
            let row = state.instance(key).ok_or(Problem::NotFound)?;
            let facts = changed(row);
            if facts == *row.facts {
                return self.keep_alive(row).await;
            }
            let lease = facts.lease.as_ref().and_then(|id| state.lease(id));
            let register = Register {
                terms: lease.map(|lease| lease.terms.clone()),
                expect: Some(row.modified),
                ..Register::new(facts)
            };
            if self
                .settle(Command::Register(Box::new(register)))
                .await?
                .is_some()
            {
                return Ok(());
            }
        }
        Err(Problem::Contended)
    }

    /// An instance; that it is not there, or not `different` from what is asked for, is said of the latest state alone.
    async fn found(
        &self,
        app: &str,
        id: &str,
        different: impl Fn(&Shown) -> bool,
    ) -> Result<Shown, Problem> {
        let find = |state: &State| read::find(state, app, id);
        let enough = |state: &State| find(state).is_some_and(|shown| different(&shown));
        find(&*self.registry.latest_unless(enough).await?).ok_or(Problem::NotFound)
    }

    async fn keep_alive(&self, row: &Arc<Instance>) -> Result<(), Problem> {
        let Some(lease) = &row.lease else {
            return Ok(());
        };
        match self.registry.renew(lease).await? {
            Renewed::For(_) => Ok(()),
            Renewed::Unknown => Err(Problem::NotRegistered),
        }
    }

    /// What the command did; `None` when the row had changed and it is to be worked out again.
    async fn settle(&self, command: Command) -> Result<Option<Done>, Problem> {
        match self
            .registry
            .propose(self.cause.clone(), command)
            .await?
            .outcome
        {
            Ok(done) => Ok(Some(done)),
            Err(portolan_catalog::Refusal::Changed(_)) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// Netflix' rules of a registration, on a snapshot.
pub(crate) fn plan_registration(state: &State, sent: &wire::Instance, now: Timestamp) -> Plan {
    let key = InstanceKey::eureka(&sent.app, sent.effective_id());
    let existing = state.instance(&key);
    let terms = Some(lease::terms(&sent.lease));
    let expect = Some(existing.map_or(Revision(0), |row| row.modified));
    // An older registration arriving late: the facts stay, the lease starts afresh.
    if let Some(row) = existing.filter(|row| sent.dirty_at.is_some_and(|d| d < claim(row))) {
        let facts = row.facts.clone();
        let register = Register::new((*facts).clone());
        return Plan::Register(Register {
            facts,
            terms,
            expect,
            ..register
        });
    }
    let trusted = matches!(
        sent.status,
        Status::Down | Status::Starting | Status::Unknown
    );
    let admin = existing.and_then(|row| row.admin.as_deref());
    if trusted && admin.is_some_and(|a| a.status == AdminStatus::Up) {
        return Plan::ClearFirst;
    }
    let imposed = match (admin, sent.overridden) {
        (Some(_), _) | (None, Status::Unknown) => None,
        (None, Status::Up) if trusted => None,
        (None, overridden) => Some(Arc::new(status::impose(overridden).0)),
    };
    let declared = status::registered(sent.status, existing.map(|row| row.declared));
    let facts = match (sent.dirty_at, existing) {
        (Some(dirty), _) => {
            to_registration(sent, declared, u64::try_from(dirty).unwrap_or_default())
        }
        (None, None) => to_registration(sent, declared, now.0),
        // Without a timestamp of its own, the same registration again must stay the same.
        (None, Some(row)) => {
            let same = to_registration(sent, declared, row.claim);
            if same == *row.facts {
                same
            } else {
                to_registration(sent, declared, now.0)
            }
        }
    };
    Plan::Register(Register {
        terms,
        expect,
        admin: imposed,
        ..Register::new(facts)
    })
}

fn to_registration(
    sent: &wire::Instance,
    declared: Declared,
    claim: u64,
) -> portolan_catalog::Registration {
    translate::to_registration(sent, declared, claim)
}

fn claim(row: &Instance) -> i64 {
    i64::try_from(row.claim).unwrap_or(i64::MAX)
}

fn set_admin(key: &InstanceKey, admin: Option<Admin>, declared: Option<Declared>) -> Command {
    Command::SetAdmin {
        target: AdminTarget::Instance(key.clone()),
        admin: admin.map(Arc::new),
        declared,
    }
}

fn status_named(name: &str) -> Result<Status, Problem> {
    Status::named(name).ok_or_else(|| Problem::NoSuchStatus(name.to_owned()))
}
