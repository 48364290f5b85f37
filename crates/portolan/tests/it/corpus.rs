//! The fuzz targets over their committed corpus, and over every prefix and a few changed bytes of it, with the ordinary compiler.

use std::path::PathBuf;

#[path = "../../../../fuzz/src/targets.rs"]
pub mod targets;

#[test]
fn no_decoder_minds_the_corpus() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets::ALL {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("no corpus for {name}: {error}"))
        {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            target(&bytes);
            for end in 0..bytes.len() {
                target(&bytes[..end]);
            }
            for at in 0..bytes.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= flip;
                    target(&changed);
                }
            }
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}

#[test]
fn a_node_that_was_sent_the_corpus_is_after_a_kill_what_it_was() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets::REPLAYED {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("no corpus for {name}: {error}"))
        {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}
