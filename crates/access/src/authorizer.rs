//! Compiled rules, and the questions they answer.
//!
//! Invariants
//! - An exact name's rule wins over any prefix's, a longer prefix's over a shorter one's; among rules for the same name the strictest
//!   order of [`Level`] decides. What no rule speaks of is as the default says, but access control itself, which is never open.
//! - An answer allocates nothing for names that need no folding.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::rules::{Kind, Level, Rules, Whole};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// What everybody may know.
    Public,
    /// One named thing.
    Named(Kind, Cow<'a, [u8]>, Level),
    /// Everything whose name begins so.
    Under(Kind, Cow<'a, [u8]>, Level),
    /// Anything at all of a kind.
    Some(Kind, Level),
    /// A thing there is one of.
    Whole(Whole, Level),
    /// The intentions of a service.
    Intention(Cow<'a, [u8]>, Level),
}

impl Question<'_> {
    /// How Consul names what is asked for, the level, and the name if it has one.
    pub fn words(&self) -> (&'static str, Level, Option<Cow<'_, str>>) {
        match self {
            Question::Public => ("public", Level::Read, None),
            Question::Named(kind, name, level) | Question::Under(kind, name, level) => {
                (kind.as_str(), *level, Some(String::from_utf8_lossy(name)))
            }
            Question::Some(kind, level) => (kind.as_str(), *level, None),
            Question::Whole(whole, level) => (whole.as_str(), *level, None),
            Question::Intention(name, level) => {
                ("intention", *level, Some(String::from_utf8_lossy(name)))
            }
        }
    }
}

/// Rules of one kind.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<Box<[u8]>, Level>,
    prefix: HashMap<Box<[u8]>, Level>,
    /// Lengths of prefixes, the longest first.
    lengths: Vec<usize>,
}

impl Names {
    fn add(&mut self, name: &[u8], prefix: bool, level: Level) {
        let map = if prefix {
            if !self.lengths.contains(&name.len()) {
                self.lengths.push(name.len());
                self.lengths.sort_unstable_by(|a, b| b.cmp(a));
            }
            &mut self.prefix
        } else {
            &mut self.exact
        };
        let kept = map.entry(name.into()).or_insert(level);
        *kept = (*kept).max(level);
    }

    fn covering(&self, name: &[u8]) -> Option<Level> {
        let of = |length: &usize| self.prefix.get(name.get(..*length)?).copied();
        self.lengths.iter().find_map(of)
    }

    fn level(&self, name: &[u8]) -> Option<Level> {
        self.exact
            .get(name)
            .copied()
            .or_else(|| self.covering(name))
    }

    /// Whether a rule grants `wanted`, whatever it is about.
    fn grants_some(&self, wanted: Level) -> bool {
        let mut rules = self.exact.values().chain(self.prefix.values());
        rules.any(|level| level.grants(wanted))
    }

    /// Whether every rule about a name that begins so grants `wanted`.
    fn all_below(&self, prefix: &[u8], wanted: Level) -> bool {
        let mut rules = self.exact.iter().chain(&self.prefix);
        rules.all(|(name, level)| !name.starts_with(prefix) || level.grants(wanted))
    }
}

/// What several policies together allow.
#[derive(Debug)]
pub struct Authorizer {
    everything: bool,
    default: bool,
    names: [Names; Kind::ALL.len()],
    intentions: Names,
    whole: [Option<Level>; Whole::ALL.len()],
}

impl Authorizer {
    /// Everything is allowed.
    pub fn management() -> Authorizer {
        Authorizer {
            everything: true,
            ..Authorizer::new([], true)
        }
    }

    /// Compiles rules. What they do not speak of is allowed if `default` says so.
    pub fn new<'a>(policies: impl IntoIterator<Item = &'a Rules>, default: bool) -> Authorizer {
        let mut made = Authorizer {
            everything: false,
            default,
            names: Default::default(),
            intentions: Names::default(),
            whole: [None; Whole::ALL.len()],
        };
        for rules in policies {
            for rule in &rules.named {
                let name = folded(rule.kind, rule.name.as_bytes());
                made.names[rule.kind as usize].add(&name, rule.prefix, rule.level);
                if rule.kind == Kind::Service {
                    let implied = match rule.level {
                        Level::Deny => Level::Deny,
                        _ => Level::Read,
                    };
                    let level = rule.intentions.unwrap_or(implied);
                    made.intentions.add(&name, rule.prefix, level);
                }
            }
            for (whole, level) in &rules.whole {
                let kept = &mut made.whole[*whole as usize];
                *kept = Some(kept.map_or(*level, |kept| kept.max(*level)));
            }
        }
        made
    }

    /// Whether there is nothing that this refuses.
    pub fn allows_everything(&self) -> bool {
        self.everything
    }

    /// Whether it is allowed.
    pub fn allows(&self, question: &Question<'_>) -> bool {
        if self.everything {
            return true;
        }
        let by_default = |level: Option<Level>, wanted: Level| {
            level.map_or(self.default, |level| level.grants(wanted))
        };
        match question {
            Question::Public => true,
            Question::Named(kind, name, wanted) => {
                let names = &self.names[*kind as usize];
                by_default(names.level(&folded(*kind, name)), *wanted)
            }
            Question::Under(kind, prefix, wanted) => {
                let names = &self.names[*kind as usize];
                let prefix = folded(*kind, prefix);
                by_default(names.covering(&prefix), *wanted) && names.all_below(&prefix, *wanted)
            }
            Question::Some(kind, wanted) => {
                self.default || self.names[*kind as usize].grants_some(*wanted)
            }
            Question::Intention(name, wanted) => {
                let level = self.intentions.level(&folded(Kind::Service, name));
                by_default(level, *wanted)
            }
            Question::Whole(whole, wanted) => self.whole(*whole, *wanted),
        }
    }

    fn whole(&self, whole: Whole, wanted: Level) -> bool {
        match (self.whole[whole as usize], whole) {
            (Some(level), _) => level.grants(wanted),
            // Who may manage access is never a matter of a default.
            (None, Whole::Acl) => false,
            (None, Whole::Mesh | Whole::Peering) => self.whole(Whole::Operator, wanted),
            (None, Whole::Keyring | Whole::Operator) => self.default,
        }
    }
}

fn folded(kind: Kind, name: &[u8]) -> Cow<'_, [u8]> {
    if kind.folds() && name.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(texts: &[&str], default: bool) -> Authorizer {
        let rules: Vec<Rules> = texts
            .iter()
            .map(|text| Rules::parse(text).unwrap())
            .collect();
        Authorizer::new(&rules, default)
    }

    fn named(kind: Kind, name: &str, level: Level) -> Question<'static> {
        Question::Named(kind, Cow::Owned(name.as_bytes().to_vec()), level)
    }

    fn under(kind: Kind, name: &str, level: Level) -> Question<'static> {
        Question::Under(kind, Cow::Owned(name.as_bytes().to_vec()), level)
    }

    #[test]
    fn the_most_particular_rule_decides() {
        let rules = r#"
            service_prefix "" { policy = "read" }
            service_prefix "pay" { policy = "deny" }
            service_prefix "payments-" { policy = "write" }
            service "payments-Secret" { policy = "read" }
            key_prefix "app/" { policy = "write" }
            key_prefix "app/secret/" { policy = "deny" }
            key "app/secret/open" { policy = "list" }
        "#;
        let rows = [
            (Kind::Service, "web", Level::Read, true),
            (Kind::Service, "web", Level::Write, false),
            (Kind::Service, "pay", Level::Read, false),
            (Kind::Service, "PAYMENTS-a", Level::Write, true),
            (Kind::Service, "payments-secret", Level::Write, false),
            (Kind::Service, "payments-secret", Level::Read, true),
            (Kind::Key, "app/x", Level::Write, true),
            (Kind::Key, "app", Level::Read, false),
            (Kind::Key, "app/secret/x", Level::Read, false),
            (Kind::Key, "app/secret/open", Level::List, true),
            (Kind::Key, "app/secret/open", Level::Write, false),
            (Kind::Node, "n1", Level::Read, false),
        ];
        let authorizer = made(&[rules], false);
        for (kind, name, level, allowed) in rows {
            let question = named(kind, name, level);
            assert_eq!(authorizer.allows(&question), allowed, "{question:?}");
        }
        let rows = [
            ("app/", Level::Write, false),
            ("app/x", Level::Write, true),
            ("app/secret/", Level::Read, false),
            ("", Level::Read, false),
            ("other", Level::Read, false),
        ];
        for (prefix, level, allowed) in rows {
            let question = under(Kind::Key, prefix, level);
            assert_eq!(authorizer.allows(&question), allowed, "{question:?}");
        }
        let rows = [
            (Kind::Service, Level::Write, true),
            (Kind::Node, Level::Read, false),
        ];
        for (kind, level, allowed) in rows {
            let question = Question::Some(kind, level);
            assert_eq!(authorizer.allows(&question), allowed, "{question:?}");
        }
        let narrow = made(&[r#"service "web" { policy = "read" }"#], false);
        let some = |level| narrow.allows(&Question::Some(Kind::Service, level));
        assert!(some(Level::Read) && !some(Level::Write));
    }

    #[test]
    fn of_several_policies_denying_wins_then_the_wider_one() {
        let (read, write, deny) = (
            r#"service "a" { policy = "read" } acl = "read""#,
            r#"service "a" { policy = "write" } acl = "write""#,
            r#"service "a" { policy = "deny" } acl = "deny""#,
        );
        let rows = [
            (vec![read, write], true, true),
            (vec![write, read], true, true),
            (vec![write, deny, read], false, false),
            (vec![read], true, false),
        ];
        for (texts, reads, writes) in rows {
            let authorizer = made(&texts, false);
            for (level, allowed) in [(Level::Read, reads), (Level::Write, writes)] {
                assert_eq!(
                    authorizer.allows(&named(Kind::Service, "a", level)),
                    allowed
                );
                assert_eq!(
                    authorizer.allows(&Question::Whole(Whole::Acl, level)),
                    allowed
                );
            }
        }
    }

    #[test]
    fn defaults_never_open_access_control_itself() {
        let open = made(&[], true);
        assert!(open.allows(&named(Kind::Key, "a", Level::Write)));
        assert!(open.allows(&under(Kind::Key, "", Level::Write)));
        assert!(open.allows(&Question::Whole(Whole::Operator, Level::Write)));
        assert!(open.allows(&Question::Whole(Whole::Mesh, Level::Write)));
        assert!(!open.allows(&Question::Whole(Whole::Acl, Level::Read)));
        let mesh = made(&["operator = \"read\" mesh = \"deny\""], true);
        assert!(!mesh.allows(&Question::Whole(Whole::Mesh, Level::Read)));
        assert!(mesh.allows(&Question::Whole(Whole::Peering, Level::Read)));
        assert!(!mesh.allows(&Question::Whole(Whole::Peering, Level::Write)));
        assert!(Authorizer::management().allows(&Question::Whole(Whole::Acl, Level::Write)));
    }

    #[test]
    fn a_service_implies_what_may_be_done_with_its_intentions() {
        let rows = [
            (r#"service "a" { policy = "write" }"#, true, false),
            (r#"service "a" { policy = "read" }"#, true, false),
            (r#"service "a" { policy = "deny" }"#, false, false),
            (
                r#"service "a" { policy = "read" intentions = "write" }"#,
                true,
                true,
            ),
            (
                r#"service "a" { policy = "write" intentions = "deny" }"#,
                false,
                false,
            ),
        ];
        for (text, reads, writes) in rows {
            let authorizer = made(&[text], false);
            let asked = |level| Question::Intention(Cow::Borrowed(b"a"), level);
            assert_eq!(authorizer.allows(&asked(Level::Read)), reads, "{text}");
            assert_eq!(authorizer.allows(&asked(Level::Write)), writes, "{text}");
        }
    }
}
