//! Generates the code of the wire contract. `protox` compiles the protobufs, so that nobody needs
//! `protoc`.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    println!("cargo::rerun-if-changed=funless");

    let mut files = Vec::new();
    find_protos(&root.join("funless"), &mut files)?;
    files.sort();

    let descriptors = protox::compile(&files, [&root])?;
    std::fs::write(out.join("funless.bin"), descriptors.encode_to_vec())?;
    let mut messages = tonic_prost_build::Config::new();
    messages.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::Codec")
        .compile_fds_with_config(descriptors, messages)?;
    Ok(())
}

fn find_protos(dir: &std::path::Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
