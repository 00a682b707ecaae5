//! Compiles the protos in pure Rust (no `protoc`) into client, server and messages.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=shardline/v1/shard.proto");
    let descriptors = protox::compile(["shardline/v1/shard.proto"], ["."])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
