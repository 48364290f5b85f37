//! The decoders of bodies by themselves, for `fuzz`. Nothing here may panic.

use serde_json::Value;

use crate::kind::{KINDS, SERVICES};
use crate::{managed, object, protobuf, schema, yaml};

/// A YAML body. What was read is written, and read again the same.
pub fn yaml(bytes: &[u8]) {
    if let Ok(value) = yaml::read(bytes) {
        let written = yaml::write(&value);
        assert_eq!(
            yaml::read(written.as_bytes()).as_ref(),
            Ok(&value),
            "{written}"
        );
    }
}

/// A protobuf body of a kind that its first byte chooses. What was read is written, and read again the same.
pub fn protobuf(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let Ok(value) = protobuf::read(body, kind.schema) else {
        return;
    };
    // What is empty is left out, and so is what says nothing.
    if let Ok(written) = protobuf::object(&value, kind.schema) {
        let again = protobuf::read(&written, kind.schema);
        assert!(again.is_ok(), "{value} {again:?}");
    }
}

/// Two configurations of a Service in JSON, divided by a zero byte, applied one after the other by two managers.
pub fn apply(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
    let mut live: Option<Value> = None;
    for (manager, text) in [
        ("one", &bytes[..at]),
        ("two", bytes.get(at + 1..).unwrap_or_default()),
    ] {
        let Ok(mut config) = serde_json::from_slice::<Value>(text) else {
            continue;
        };
        if !config.is_object()
            || schema::check(SERVICES.schema, &mut config)
                .mistyped
                .is_some()
        {
            continue;
        }
        object::metadata_mut(&mut config).remove("managedFields");
        let writer = managed::Writer {
            kind: &SERVICES,
            subresource: None,
            manager,
            now: "2023-11-14T22:13:20Z",
        };
        let Ok(applied) = managed::apply(&writer, live.as_ref(), &config, true) else {
            continue;
        };
        let again = managed::apply(&writer, Some(&applied), &config, false);
        assert!(
            again.is_ok_and(|again| managed::same(&again, &applied)),
            "what is applied twice changes nothing: {config}"
        );
        live = Some(applied);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_looked_through() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        for (name, target) in [
            ("kubernetes_yaml", yaml as fn(&[u8])),
            ("kubernetes_protobuf", protobuf),
            ("kubernetes_apply", apply),
        ] {
            let files: Vec<_> = std::fs::read_dir(corpus.join(name)).unwrap().collect();
            assert!(!files.is_empty());
            for file in files {
                let bytes = std::fs::read(file.unwrap().path()).unwrap();
                target(&bytes);
                // Also what a line cut off leaves.
                (0..bytes.len()).for_each(|end| target(&bytes[..end]));
            }
        }
    }
}
