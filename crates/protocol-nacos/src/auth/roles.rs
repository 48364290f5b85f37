//! The calls that change roles and permissions.

use std::sync::Arc;

use portolan_access::AccessControl;
use portolan_access::directory::{Directory, Known};
use portolan_access::rows::{Grants, Kept, Policy, Role, Token};
use portolan_access::store::Changes;
use portolan_catalog::State;
use portolan_listener::Caller;
use uuid::Uuid;

use super::permission::{self, Permission};
use super::users::{change, is_admin, no_user};
use super::{ADMIN_ROLE, rows};
use crate::app::App;
use crate::error::Problem;

/// Bytes of a role's name at most: with what is before it it has to be a policy's name.
const NAME: usize = 100;
/// Permissions of a role at most.
const PERMISSIONS: usize = 1_000;
/// What a role that was made here says of itself: it goes with its last user's request.
const DESCRIPTION: &str = "A role of Nacos";

fn new_id() -> String {
    Uuid::from_bytes(portolan_environment::uuid()).to_string()
}

/// The policy that a role's permissions are.
fn policy_name(role: &str) -> String {
    format!("nacos-role-{role}")
}

/// The roles of a user's token, by name.
fn roles_of(directory: &Directory, token: &Token) -> Vec<String> {
    let admin = is_admin(token).then(|| ADMIN_ROLE.to_owned());
    let others = token.roles.iter().filter_map(|id| directory.role(id));
    let others = others.map(|kept| kept.row.name.clone());
    admin.into_iter().chain(others).collect()
}

/// Every role of every user: the role, and the user.
pub(crate) fn all(access: &AccessControl, state: &State) -> Vec<(String, String)> {
    let directory = access.directory_of(state);
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, user) in rows::users(state) {
        let Some(known) = directory.token(&user.accessor) else {
            continue;
        };
        let roles = roles_of(&directory, &known.token.row);
        pairs.extend(roles.into_iter().map(|role| (role, name.clone())));
    }
    pairs.sort();
    pairs
}

fn user_token(access: &AccessControl, app: &App, name: &str) -> Result<Arc<Known>, Problem> {
    let user = app.registry.read(|state| rows::user(state, name));
    let (user, _) = user.ok_or_else(|| no_user(name))?;
    let directory = access.directory();
    directory
        .token(&user.accessor)
        .cloned()
        .ok_or_else(|| no_user(name))
}

/// Gives a user a role, which is made if there is none of that name.
pub(crate) async fn bind(
    app: &App,
    access: &AccessControl,
    caller: &Caller,
    role: &str,
    user: &str,
) -> Result<(), Problem> {
    if role == ADMIN_ROLE {
        let text = format!("role '{ADMIN_ROLE}' is not permitted to create!");
        return Err(Problem::invalid(text));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if role.is_empty() || role.len() > NAME || !role.bytes().all(plain) {
        let text = format!("role {role:?} is not 1 to {NAME} letters, digits, - and _");
        return Err(Problem::invalid(text));
    }
    let known = user_token(access, app, user)?;
    let directory = access.directory();
    let mut token = known.token.row.clone();
    let mut changes = Changes::default();
    let id = match directory.role_named(role) {
        Some(kept) => kept.row.id.clone(),
        None => {
            let made = Role {
                id: new_id(),
                name: role.to_owned(),
                description: DESCRIPTION.to_owned(),
                grants: Grants::default(),
            };
            changes.role(&made, None);
            made.id
        }
    };
    if token.roles.contains(&id) {
        let text = format!("user '{user}' already bound to the role '{role}'!");
        return Err(Problem::invalid(text));
    }
    token.roles.push(id);
    changes.token(&token, Some(&known.token));
    change(app, caller, Some(changes), Vec::new()).await
}

/// Takes a role from a user, or from everybody, and then the role goes if it was made here.
pub(crate) async fn unbind(
    app: &App,
    access: &AccessControl,
    caller: &Caller,
    role: &str,
    user: Option<&str>,
) -> Result<(), Problem> {
    if role == ADMIN_ROLE {
        let text = format!("role '{ADMIN_ROLE}' is not permitted to delete!");
        return Err(Problem::invalid(text));
    }
    let directory = access.directory();
    let Some(kept) = directory.role_named(role) else {
        return Ok(());
    };
    let mut changes = Changes::default();
    let mut without = |known: &Known| {
        let mut token = known.token.row.clone();
        token.roles.retain(|id| *id != kept.row.id);
        if token.roles.len() != known.token.row.roles.len() {
            changes.token(&token, Some(&known.token));
        }
    };
    if let Some(user) = user {
        without(&*user_token(access, app, user)?);
        return change(app, caller, Some(changes), Vec::new()).await;
    }
    for known in directory.tokens() {
        without(known);
    }
    if kept.row.description == DESCRIPTION {
        changes.drop_role(&kept.row);
    }
    if let Some(policy) = directory.policy_named(&policy_name(role)) {
        changes.drop_policy(&policy.row);
    }
    let own = vec![rows::drop_permissions(&kept.row.name)];
    change(app, caller, Some(changes), own).await
}

/// A role's permissions become what `edit` makes of them; so does the policy that they are.
pub(crate) async fn permit(
    app: &App,
    access: &AccessControl,
    caller: &Caller,
    role: &str,
    edit: impl FnOnce(&mut Vec<Permission>),
) -> Result<(), Problem> {
    let directory = access.directory();
    let kept = directory.role_named(role);
    let kept = kept.ok_or_else(|| Problem::invalid(format!("role {role} not found!")))?;
    // The spelling under which it was made.
    let role = &*kept.row.name;
    let found = app.registry.read(|state| rows::permissions_of(state, role));
    let (mut permissions, expect) = found;
    let before = permissions.clone();
    edit(&mut permissions);
    if permissions == before {
        return Ok(());
    }
    if permissions.len() > PERMISSIONS {
        let text = format!("role {role} has {PERMISSIONS} permissions already");
        return Err(Problem::invalid(text));
    }
    let mut changes = Changes::default();
    let rules = permission::rules(&permissions);
    let id = match directory.policy_named(&policy_name(role)) {
        Some(old) => {
            let policy = Policy {
                rules,
                ..old.row.clone()
            };
            changes.policy(&policy, Some(old));
            policy.id
        }
        None => {
            let policy = Policy {
                id: new_id(),
                name: policy_name(role),
                description: format!("The permissions of the role {role} in Nacos"),
                rules,
                datacenters: Vec::new(),
            };
            changes.policy(&policy, None);
            policy.id
        }
    };
    add_policy(&mut changes, kept, id);
    let own = vec![rows::put_permissions(role, &permissions, expect)];
    change(app, caller, Some(changes), own).await
}

/// The role has the policy.
fn add_policy(changes: &mut Changes, kept: &Kept<Role>, id: String) {
    let mut role = kept.row.clone();
    if !role.grants.policies.contains(&id) {
        role.grants.policies.push(id);
        changes.role(&role, Some(kept));
    }
}
