//! The client, from the definitions of the front end itself.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "../../crates/protocol-etcd/proto";
    println!("cargo:rerun-if-changed={proto}");
    let descriptors = protox::compile(["rpc.proto"], [proto])?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_server(false)
        .compile_fds(descriptors)?;
    Ok(())
}
