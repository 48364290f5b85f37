//! All of access control at one revision: rows by id and name, and for each token what it may do, compiled when it is first used.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use portolan_catalog::State;
use tracing::error;

use crate::authorizer::Authorizer;
use crate::builtin;
use crate::rows::{Grants, Kept, Policy, Role, Token};
use crate::rules::Rules;
use crate::store::{self, Mark, POLICIES, ROLES, TOKENS};

/// A token with what it may do.
#[derive(Debug)]
pub struct Known {
    /// The token. Its revisions are 0 for the anonymous one that nobody changed.
    pub token: Kept<Token>,
    /// The accessor as principals have it.
    pub accessor: Arc<str>,
    authorizer: OnceLock<Authorizer>,
}

/// Everything at one revision.
#[derive(Debug)]
pub struct Directory {
    /// The last change it knows.
    pub changed: Mark,
    tokens: BTreeMap<Arc<str>, Arc<Known>>,
    by_secret: HashMap<[u8; 32], Arc<Known>>,
    anonymous: Arc<Known>,
    policies: BTreeMap<String, Kept<Policy>>,
    rules: HashMap<String, Option<Rules>>,
    roles: BTreeMap<String, Kept<Role>>,
    default: bool,
    datacenter: Arc<str>,
}

impl Directory {
    /// Reads all rows of a state. `default` is whether what no rule speaks of is allowed.
    pub fn read(state: &State, default: bool, datacenter: &Arc<str>) -> Directory {
        let mut policies: BTreeMap<String, Kept<Policy>> = builtin::policies()
            .into_iter()
            .map(|row| (row.id.clone(), unwritten(row)))
            .collect();
        for kept in store::rows::<Policy>(state, POLICIES) {
            policies.insert(kept.row.id.clone(), kept);
        }
        let readable = |policy: &Policy| match Rules::parse(&policy.rules) {
            Ok(rules) => Some(rules),
            Err(why) => {
                error!(policy = policy.id, %why, "the rules of a kept policy cannot be read: who has it may do nothing");
                None
            }
        };
        let rules = policies
            .values()
            .map(|kept| (kept.row.id.clone(), readable(&kept.row)))
            .collect();
        let roles = store::rows::<Role>(state, ROLES)
            .into_iter()
            .map(|kept| (kept.row.id.clone(), kept))
            .collect();
        let mut made = Directory {
            changed: store::changed(state),
            tokens: BTreeMap::new(),
            by_secret: HashMap::new(),
            anonymous: Arc::new(known(unwritten(builtin::anonymous()))),
            policies,
            rules,
            roles,
            default,
            datacenter: datacenter.clone(),
        };
        for kept in store::rows::<Token>(state, TOKENS) {
            made.add(Arc::new(known(kept)));
        }
        if !made.tokens.contains_key(builtin::ANONYMOUS) {
            made.add(made.anonymous.clone());
        }
        made
    }

    fn add(&mut self, known: Arc<Known>) {
        if &*known.accessor == builtin::ANONYMOUS {
            self.anonymous = known.clone();
        }
        let digest = store::digest(&known.token.row.secret);
        self.by_secret.insert(digest, known.clone());
        self.tokens.insert(known.accessor.clone(), known);
    }

    /// The token with this secret, unless its time is over.
    pub fn by_secret(&self, secret: &str, now_ms: u64) -> Option<&Arc<Known>> {
        let known = self.by_secret.get(&store::digest(secret))?;
        (!known.token.row.expired(now_ms)).then_some(known)
    }

    /// The token with this accessor.
    pub fn token(&self, accessor: &str) -> Option<&Arc<Known>> {
        self.tokens.get(accessor)
    }

    /// The token of whoever shows none.
    pub fn anonymous(&self) -> &Arc<Known> {
        &self.anonymous
    }

    /// All tokens, by accessor.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.tokens.values()
    }

    /// A policy.
    pub fn policy(&self, id: &str) -> Option<&Kept<Policy>> {
        self.policies.get(id)
    }

    /// A policy by its name, in any case.
    pub fn policy_named(&self, name: &str) -> Option<&Kept<Policy>> {
        self.policies
            .values()
            .find(|kept| kept.row.name.eq_ignore_ascii_case(name))
    }

    /// All policies, by id.
    pub fn policies(&self) -> impl Iterator<Item = &Kept<Policy>> {
        self.policies.values()
    }

    /// A role.
    pub fn role(&self, id: &str) -> Option<&Kept<Role>> {
        self.roles.get(id)
    }

    /// A role by its name, in any case.
    pub fn role_named(&self, name: &str) -> Option<&Kept<Role>> {
        self.roles
            .values()
            .find(|kept| kept.row.name.eq_ignore_ascii_case(name))
    }

    /// All roles, by id.
    pub fn roles(&self) -> impl Iterator<Item = &Kept<Role>> {
        self.roles.values()
    }

    /// What a token may do: compiled once for each token and revision of access control.
    pub fn authorizer<'a>(&self, known: &'a Known) -> &'a Authorizer {
        known
            .authorizer
            .get_or_init(|| self.compile(&known.token.row))
    }

    fn compile(&self, token: &Token) -> Authorizer {
        let mut grants = vec![&token.grants];
        let roles = token.roles.iter().filter_map(|id| self.roles.get(id));
        grants.extend(roles.map(|kept| &kept.row.grants));
        if grants
            .iter()
            .any(|grants| grants.policies.iter().any(|id| id == builtin::MANAGEMENT))
        {
            return Authorizer::management();
        }
        let mut rules = Vec::new();
        for grants in grants {
            if !self.collect(grants, &mut rules) {
                return Authorizer::new([], false);
            }
        }
        Authorizer::new(&rules, self.default)
    }

    /// Adds what is granted; false when a part of it cannot be read.
    fn collect(&self, grants: &Grants, rules: &mut Vec<Rules>) -> bool {
        let here = |datacenters: &[String]| {
            let is = |name: &String| name.eq_ignore_ascii_case(&self.datacenter);
            datacenters.is_empty() || datacenters.iter().any(is)
        };
        // A policy that is gone grants nothing.
        for kept in grants
            .policies
            .iter()
            .filter_map(|id| self.policies.get(id))
        {
            if !here(&kept.row.datacenters) {
                continue;
            }
            match self.rules.get(&kept.row.id) {
                Some(Some(read)) => rules.push(read.clone()),
                _ => return false,
            }
        }
        let services = grants.service_identities.iter();
        rules.extend(
            services
                .filter(|identity| here(&identity.datacenters))
                .map(builtin::of_service),
        );
        let nodes = grants.node_identities.iter();
        rules.extend(
            nodes
                .filter(|identity| here(std::slice::from_ref(&identity.datacenter)))
                .map(builtin::of_node),
        );
        let templates = grants.templated_policies.iter();
        rules.extend(
            templates
                .filter(|policy| here(&policy.datacenters))
                .map(builtin::of_template),
        );
        true
    }
}

fn unwritten<T>(row: T) -> Kept<T> {
    Kept {
        row,
        created: 0,
        modified: 0,
    }
}

fn known(token: Kept<Token>) -> Known {
    Known {
        accessor: token.row.accessor.as_str().into(),
        token,
        authorizer: OnceLock::new(),
    }
}
