//! Login: a token that another authority gave is exchanged for one of ours, by what it claims.
//!
//! An [`AuthMethod`] says whose tokens are believed and what they have to claim; a [`BindingRule`] says what their bearers get. There is the
//! method `jwt`, whose public keys stand in its configuration: nothing is fetched from anywhere.

mod claims;
mod jwt;
mod method;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use claims::Claimed;
pub use method::Refused;

/// Whose tokens are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthMethod {
    /// Unique.
    pub name: String,
    /// `jwt`.
    pub r#type: String,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// How long tokens live that it gives, milliseconds; 0 for ever.
    pub max_token_ttl_ms: u64,
    /// `local`, `global`, or empty, which is `local`.
    pub token_locality: String,
    /// As it was sent.
    pub config: Map<String, Value>,
}

/// What is given to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindingRule {
    /// A UUID.
    pub id: String,
    /// For people.
    pub description: String,
    /// The method's name.
    pub auth_method: String,
    /// A filter over what is claimed; empty for everybody.
    pub selector: String,
    /// `service`, `node`, `role`, `policy` or `templated-policy`.
    pub bind_type: String,
    /// A name, in which `${value.x}` stands for what is claimed.
    pub bind_name: String,
    /// The name that a templated policy is filled with, if it takes one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bind_variable: String,
}

impl AuthMethod {
    /// What a bearer's token claims, if it is to be believed at that time.
    ///
    /// # Errors
    /// Why it is not. The sentence holds nothing of the token but what was expected of it.
    pub fn claimed(&self, bearer: &str, now_ms: u64) -> Result<Claimed, Refused> {
        let config = method::Config::read(&self.config)?;
        let token = jwt::verified(bearer, &config)?;
        jwt::check(&token, &config, now_ms / 1000)?;
        claims::claimed(&token, &config)
    }

    /// Whether its configuration can be used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Refused> {
        method::Config::read(&self.config).map(|_| ())
    }

    /// What its tokens may claim under which names, with nothing in it: for judging rules.
    ///
    /// # Errors
    /// As [`AuthMethod::check`].
    pub fn names(&self) -> Result<Claimed, Refused> {
        Ok(claims::nothing(&method::Config::read(&self.config)?))
    }
}
