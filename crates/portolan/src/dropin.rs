//! Called as another program: its command line becomes a configuration of this server.

use std::collections::BTreeMap;
use std::process::ExitCode;

use portolan_dropin::{Outcome, Program, Settings};

use crate::config::key::Key;
use crate::config::{Config, KNOWN, Role, keys};
use crate::{config, serve};

/// Does what the words say, of which the first is the name of the program that they speak to; none when that is this one.
pub(crate) fn run(words: &[String]) -> Option<ExitCode> {
    let (name, words) = words.split_first()?;
    Program::called(name).map(|program| speak(program, words))
}

fn speak(program: Program, words: &[String]) -> ExitCode {
    let variables: BTreeMap<String, String> = crate::args::variables().collect();
    match portolan_dropin::run(program, words, &variables, crate::version()) {
        Outcome::Exit(code) => ExitCode::from(code),
        Outcome::Serve(settings) => {
            for warning in settings.warnings.iter().chain(&settings.consents) {
                eprintln!("==> warning: {warning}");
            }
            match configuration(*settings) {
                Ok(config) => serve::exit(&config),
                Err(wrong) => {
                    eprintln!("==> {wrong}");
                    ExitCode::from(1)
                }
            }
        }
    }
}

/// The configuration: every port that is not named is off.
fn configuration(settings: Settings) -> Result<Config, String> {
    let listen = keys::find("listen").ok_or("there is no key listen")?;
    let ports = KNOWN.iter().filter(|known| known.id.role == Role::Main);
    let mut flags: Vec<(&'static Key, String)> = ports
        .map(|known| (listen, format!("{}=off", known.id)))
        .collect();
    for (name, value) in settings.flags {
        let key = keys::find(&name).ok_or_else(|| format!("--{name} is not built yet"))?;
        flags.push((key, value));
    }
    let mut config =
        config::read(None, std::iter::empty(), flags).map_err(|wrong| wrong.to_string())?;
    config.in_memory = settings.in_memory;
    if config.in_memory {
        // Written ahead, it would be memory for nothing.
        config.storage.segment_bytes = 4 << 20;
        config.storage.reserve_bytes = 1 << 20;
        config.storage.snapshot_bytes = 4 << 20;
    }
    config.cluster.waits = !settings.may_found;
    config.definition_places = settings.definition_places;
    config.consents = settings.consents;
    Ok(config)
}
