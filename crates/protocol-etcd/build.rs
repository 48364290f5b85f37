//! Compiles the `.proto` files without an external compiler, keeps their descriptors for the tests, and writes the shapes by which the JSON
//! gateway reads and writes every message.

use std::{collections::BTreeMap, env, error::Error, fmt::Write, fs, path::PathBuf};

use tonic_prost_build::configure;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["rpc.proto", "lock.proto", "election.proto", "health.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    let mut shapes = Shapes::default();
    for file in &descriptors.file {
        let scope = format!(".{}", file.package());
        for kind in &file.enum_type {
            shapes.choice(&scope, kind);
        }
        for message in &file.message_type {
            shapes.message(&scope, message);
        }
    }
    fs::write(out.join("shapes.rs"), shapes.out)?;
    // Keys and values are `Bytes`: passing them through costs a reference count, keeping them needs a copy (see `write.rs`).
    configure()
        .bytes(".")
        .build_server(false)
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .compile_fds(descriptors)?;
    Ok(())
}

/// The source text of `wire/shape.rs`'s tables.
#[derive(Default)]
struct Shapes {
    out: String,
    /// Full names seen, to keep the text free of doubles.
    seen: BTreeMap<String, ()>,
}

/// `.etcdserverpb.RangeRequest.SortOrder` as the name of a static.
fn constant(full: &str) -> String {
    full.trim_start_matches('.')
        .replace('.', "_")
        .to_uppercase()
}

impl Shapes {
    fn choice(&mut self, scope: &str, kind: &prost_types::EnumDescriptorProto) {
        let full = format!("{scope}.{}", kind.name());
        if self.seen.insert(full.clone(), ()).is_some() {
            return;
        }
        let _ = write!(
            self.out,
            "pub(crate) static {}: EnumShape = EnumShape {{ values: &[",
            constant(&full)
        );
        for value in &kind.value {
            let _ = write!(self.out, "({:?}, {}),", value.name(), value.number());
        }
        self.out.push_str("] };\n");
    }

    fn message(&mut self, scope: &str, message: &prost_types::DescriptorProto) {
        let full = format!("{scope}.{}", message.name());
        for kind in &message.enum_type {
            self.choice(&full, kind);
        }
        for nested in &message.nested_type {
            self.message(&full, nested);
        }
        let _ = write!(
            self.out,
            "pub(crate) static {}: MessageShape = MessageShape {{ fields: &[",
            constant(&full)
        );
        for field in &message.field {
            let kind = match field.r#type.unwrap_or_default() {
                3 => "Kind::Int64".to_owned(),
                4 => "Kind::Uint64".to_owned(),
                5 => "Kind::Int32".to_owned(),
                8 => "Kind::Bool".to_owned(),
                9 => "Kind::String".to_owned(),
                11 => format!("Kind::Message(&{})", constant(field.type_name())),
                12 => "Kind::Bytes".to_owned(),
                13 => "Kind::Uint32".to_owned(),
                14 => format!("Kind::Enum(&{})", constant(field.type_name())),
                other => panic!("{full}.{}: type {other} has no shape", field.name()),
            };
            let oneof = match field.oneof_index {
                Some(index) => {
                    let name = message.oneof_decl[index as usize].name();
                    format!("Some({:?})", format!("{}.{name}", &full[1..]))
                }
                None => "None".to_owned(),
            };
            let _ = write!(
                self.out,
                "FieldShape {{ number: {}, name: {:?}, json_name: {:?}, kind: {kind}, repeated: {}, oneof: {oneof} }},",
                field.number(),
                field.name(),
                field.json_name(),
                field.label == Some(3),
            );
        }
        self.out.push_str("] };\n");
    }
}
