//! Login, users, roles and permissions. Without access control everybody is let in, as where authentication is off, and there is nobody to
//! manage.

use http::HeaderValue;
use http::header::AUTHORIZATION;
use portolan_access::AccessControl;
use portolan_listener::{Action, Resource, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::Form;
use super::params::Asked;
use crate::auth::permission::{self, Permission};
use crate::auth::{roles, rows, token, users};
use crate::error::{Problem, json as json_answer, success};

/// What stands for a token where none is looked at.
const TOKEN: &str = "AUTH_DISABLED";

pub(crate) async fn login(asked: Asked) -> Result<Response, Problem> {
    asked.caller.allow(Action::Read, Resource::Public)?;
    let name = asked.text("username");
    let auth = &asked.app.auth;
    let (token, admin) = match &auth.access {
        None => (TOKEN.to_owned(), true),
        Some(access) => {
            let password = asked.given("password").unwrap_or_default();
            let caller = &asked.caller;
            let entered = auth
                .login(&asked.app, access, caller, name, password)
                .await?;
            (entered.token, entered.admin)
        }
    };
    let mut response = json_answer(&json!({
        "accessToken": token, "tokenTtl": token::TTL, "globalAdmin": admin, "username": name,
    }));
    if let Ok(bearer) = HeaderValue::try_from(format!("Bearer {token}")) {
        response.headers_mut().insert(AUTHORIZATION, bearer);
    }
    Ok(response)
}

/// It was done, in the words of the form.
fn done(form: Form, text: String) -> Response {
    match form {
        Form::V3 => success(text),
        _ => json_answer(&json!({ "code": 200, "message": null, "data": text })),
    }
}

/// Access control, once it is sure that the caller may manage it.
fn managed(asked: &Asked, action: Action) -> Result<&AccessControl, Problem> {
    asked.caller.allow(action, Resource::Access)?;
    needed(asked)
}

fn needed(asked: &Asked) -> Result<&AccessControl, Problem> {
    let access = asked.app.auth.access.as_ref();
    access.ok_or_else(|| {
        Problem::not_served("managing users, roles and permissions without --access-control")
    })
}

/// Makes the first user, who may do everything: once, unless the configuration names a first token.
pub(crate) async fn first(asked: Asked) -> Result<Response, Problem> {
    asked.caller.allow(Action::Read, Resource::Public)?;
    let access = needed(&asked)?;
    let begin = asked
        .app
        .registry
        .read(|state| users::may_begin(access, state));
    if !begin {
        return Err(Problem::coded(
            crate::error::Code::Conflict,
            "have admin user cannot use it",
        ));
    }
    let drawn = hexadecimal(&portolan_environment::random_bytes::<16>());
    let password = asked.get("password").unwrap_or(&drawn);
    let auth = &asked.app.auth;
    let who = ("nacos", password);
    auth.create(&asked.app, &asked.caller, who, true).await?;
    let answer = json!({ "username": "nacos", "password": password });
    Ok(match asked.form {
        Form::V3 => success(answer),
        _ => json_answer(&answer),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn create_user(asked: Asked) -> Result<Response, Problem> {
    managed(&asked, Action::Write)?;
    let who = (asked.required("username")?, asked.required("password")?);
    let auth = &asked.app.auth;
    auth.create(&asked.app, &asked.caller, who, false).await?;
    Ok(done(asked.form, "create user ok!".into()))
}

/// Another password: everybody may change their own.
pub(crate) async fn update_user(asked: Asked) -> Result<Response, Problem> {
    let name = asked.required("username");
    let own = asked.app.registry.read(|state| {
        let (user, _) = rows::user(state, name.as_deref().ok()?)?;
        Some(asked.caller.principal().name()? == user.accessor)
    });
    match own {
        Some(true) => asked.caller.allow(Action::Read, Resource::Public)?,
        _ => managed(&asked, Action::Write).map(drop)?,
    }
    let (name, password) = (name?, asked.required("newPassword")?);
    let auth = &asked.app.auth;
    auth.set_password(&asked.app, &asked.caller, name, password)
        .await?;
    Ok(done(asked.form, "update user ok!".into()))
}

pub(crate) async fn delete_user(asked: Asked) -> Result<Response, Problem> {
    let access = managed(&asked, Action::Write)?;
    let name = asked.required("username")?;
    let auth = &asked.app.auth;
    auth.remove(&asked.app, access, &asked.caller, name).await?;
    Ok(done(asked.form, "delete user ok!".into()))
}

/// A page of rows whose names match what is searched.
fn page<T: Serialize>(asked: &Asked, all: Vec<T>) -> Result<Response, Problem> {
    let (number, size) = asked.page(10)?;
    let rows: Vec<&T> = all.iter().skip((number - 1) * size).take(size).collect();
    let page = json!({
        "totalCount": all.len(), "pageNumber": number, "pagesAvailable": all.len().div_ceil(size), "pageItems": rows,
    });
    Ok(asked.form.data(&page))
}

/// Whether a name is searched for: exactly, or by a pattern with asterisks.
fn matches(asked: &Asked, parameter: &str, name: &str) -> bool {
    match asked.get(parameter) {
        None => true,
        Some(wanted) if asked.get("search") == Some("blur") => crate::names::matches(wanted, name),
        Some(wanted) => wanted == name,
    }
}

pub(crate) async fn list_users(asked: Asked) -> Result<Response, Problem> {
    managed(&asked, Action::Read)?;
    let all = asked.app.registry.read(rows::users);
    // Nobody is shown a password's hash.
    let row = |name: String| json!({ "username": name, "password": "" });
    let named = all
        .into_keys()
        .filter(|name| matches(&asked, "username", name));
    page(&asked, named.map(row).collect::<Vec<Value>>())
}

/// Names that begin or have in them what is typed.
fn typed(asked: &Asked, parameter: &str, all: impl Iterator<Item = String>) -> Response {
    let text = asked.text(parameter);
    let mut names: Vec<String> = all.filter(|name| name.contains(text)).collect();
    names.dedup();
    asked.form.data(&names)
}

pub(crate) async fn search_users(asked: Asked) -> Result<Response, Problem> {
    managed(&asked, Action::Read)?;
    let all = asked.app.registry.read(rows::users);
    Ok(typed(&asked, "username", all.into_keys()))
}

pub(crate) async fn list_roles(asked: Asked) -> Result<Response, Problem> {
    let access = managed(&asked, Action::Read)?;
    let state = asked.app.registry.snapshot();
    let all = roles::all(access, &state).into_iter();
    let found = all
        .filter(|(role, user)| matches(&asked, "role", role) && matches(&asked, "username", user));
    let row = |(role, user): (String, String)| json!({ "role": role, "username": user });
    page(&asked, found.map(row).collect::<Vec<Value>>())
}

pub(crate) async fn search_roles(asked: Asked) -> Result<Response, Problem> {
    let access = managed(&asked, Action::Read)?;
    let state = asked.app.registry.snapshot();
    let all = roles::all(access, &state).into_iter();
    Ok(typed(&asked, "role", all.map(|(role, _)| role)))
}

pub(crate) async fn add_role(asked: Asked) -> Result<Response, Problem> {
    let access = managed(&asked, Action::Write)?;
    let (role, user) = (asked.required("role")?, asked.required("username")?);
    roles::bind(&asked.app, access, &asked.caller, role, user).await?;
    Ok(done(asked.form, "add role ok!".into()))
}

pub(crate) async fn delete_role(asked: Asked) -> Result<Response, Problem> {
    let access = managed(&asked, Action::Write)?;
    let (role, user) = (asked.required("role")?, asked.get("username"));
    roles::unbind(&asked.app, access, &asked.caller, role, user).await?;
    let text = format!("delete role of user {} ok!", user.unwrap_or_default());
    Ok(done(asked.form, text))
}

fn asked_permission(asked: &Asked) -> Result<Permission, Problem> {
    Ok(Permission {
        resource: asked.required("resource")?.trim().to_owned(),
        action: asked.required("action")?.trim().to_owned(),
    })
}

pub(crate) async fn list_permissions(asked: Asked) -> Result<Response, Problem> {
    managed(&asked, Action::Read)?;
    let all = asked.app.registry.read(rows::permissions);
    let found = all
        .into_iter()
        .filter(|(role, _)| matches(&asked, "role", role));
    let row = |role: &str, one: Permission| json!({ "role": role, "resource": one.resource, "action": one.action });
    let rows = found.flat_map(|(role, each)| {
        let each: Vec<Value> = each.into_iter().map(|one| row(&role, one)).collect();
        each
    });
    page(&asked, rows.collect::<Vec<Value>>())
}

pub(crate) async fn add_permission(asked: Asked) -> Result<Response, Problem> {
    let access = managed(&asked, Action::Write)?;
    let role = asked.required("role")?;
    let wanted = asked_permission(&asked)?;
    if let Some(fault) = permission::fault(&wanted) {
        return Err(Problem::invalid(fault));
    }
    roles::permit(&asked.app, access, &asked.caller, role, |all| {
        if !all.contains(&wanted) {
            all.push(wanted);
        }
    })
    .await?;
    Ok(done(asked.form, "add permission ok!".into()))
}

pub(crate) async fn delete_permission(asked: Asked) -> Result<Response, Problem> {
    let access = managed(&asked, Action::Write)?;
    let role = asked.required("role")?;
    let gone = asked_permission(&asked)?;
    roles::permit(&asked.app, access, &asked.caller, role, |all| {
        all.retain(|one| *one != gone);
    })
    .await?;
    Ok(done(asked.form, "delete permission ok!".into()))
}
