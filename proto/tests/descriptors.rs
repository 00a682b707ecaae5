//! Python makes its message classes from a committed descriptor set instead of generated code; this
//! keeps it equal to the proto. `UPDATE_DESCRIPTORS=1 cargo test -p shardline-proto` writes it anew.

use std::path::Path;

#[test]
fn the_descriptors_of_the_python_client_are_those_of_the_proto() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("../server/shardline/client/descriptors.binpb");
    let mut compiler = protox::Compiler::new([root])?;
    compiler
        .include_source_info(false)
        .open_file(root.join("shardline/v1/shard.proto"))?;
    let current = compiler.encode_file_descriptor_set();
    if std::env::var_os("UPDATE_DESCRIPTORS").is_some() {
        std::fs::write(&committed, &current)?;
    }
    assert!(
        std::fs::read(&committed)? == current,
        "{} is stale: write it anew with UPDATE_DESCRIPTORS=1 cargo test --release -p shardline-proto",
        committed.display()
    );
    Ok(())
}
