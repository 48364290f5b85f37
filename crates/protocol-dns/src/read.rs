//! State to answers: what a name of one of our zones answers, whatever kind of name it is.

use portolan_catalog::State;

use crate::alias;
use crate::apex;
use crate::builder::nothing;
use crate::cluster;
use crate::dependency::Dependency;
use crate::elsewhere::{self, Elsewhere};
use crate::found::{Found, Indexes, Question, Reader};
use crate::names::Asked;
use crate::nodes;
use crate::prepared_query;
use crate::reverse_lookup;
use crate::services;
use crate::settings::Settings;
use crate::wire::{Rcode, rtype};

/// What answers are worked out from.
pub(crate) fn reader<'a>(
    state: &'a State,
    settings: &'a Settings,
    indexes: &'a Indexes,
    elsewhere: &'a Elsewhere,
) -> Reader<'a> {
    Reader {
        state,
        settings,
        indexes,
        elsewhere,
        names: direct,
    }
}

/// Works out the answer to a question, following aliases inside our zones. `choose` draws a number below its argument.
pub(crate) fn resolve(
    reader: &Reader<'_>,
    question: Question<'_>,
    asked: &Asked<'_>,
    choose: impl FnMut(u32) -> u32,
) -> Found {
    alias::follow(reader, question, reader.direct(question, asked), choose)
}

/// What the name itself answers: an alias is one.
fn direct(reader: &Reader<'_>, question: Question<'_>, asked: &Asked<'_>) -> Found {
    let (state, settings) = (reader.state, reader.settings);
    let question = Question {
        ports: asked.has_ports(),
        ..question
    };
    match asked {
        Asked::Service {
            kind, name, tag, ..
        } => services::resolve(reader, question, *kind, name, tag),
        Asked::PortsOnly { name, tag } => {
            let ported = Question {
                qtype: rtype::SRV,
                ..question
            };
            let kind = crate::names::Kind::Plain;
            let found = services::resolve(reader, ported, kind, name, tag);
            Found {
                template: nothing(found.template.rcode),
                keep: false,
                ..found
            }
        }
        Asked::Node(name) => nodes::resolve(reader, question, name),
        Asked::Query { name, .. } => {
            prepared_query::resolve(reader, question, &reader.indexes.definitions, name)
        }
        Asked::Addr(ip) => Found::new(
            nodes::address(settings, *ip, question.qtype),
            Dependency::Nothing,
        ),
        Asked::Reverse(ip) => Found::passing(reverse_lookup::resolve(
            state,
            settings,
            &reader.indexes.nodes,
            *ip,
            question.qtype,
        )),
        Asked::Apex => Found::passing(apex::resolve(
            state,
            settings,
            question.zone,
            question.qtype,
        )),
        Asked::Cluster(asked) => cluster::resolve(state, settings, asked, question.qtype),
        Asked::Elsewhere(datacenter, asked) => {
            elsewhere::resolve(reader, question, datacenter, asked)
        }
        Asked::EmptyNonTerminal => Found::passing(nothing(Rcode::NoError)),
        Asked::Nothing => Found::passing(nothing(Rcode::NxDomain)),
    }
}
