//! Compiles the `.proto` files without an external compiler and keeps their descriptors for the tests.

use std::{env, error::Error, fs, path::PathBuf};

use tonic_prost_build::configure;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["rpc.proto", "health.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    // Keys and values are `Bytes`: passing them through costs a reference count, keeping them needs a copy (see `write.rs`).
    configure()
        .bytes(".")
        .build_server(false)
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
