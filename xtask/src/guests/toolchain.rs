//! The toolchain that compiles functions; on Debian it is installed.

use std::process::Command;

use anyhow::bail;
use wasm_toolchain::{DEBIAN_LINKER, DEBIAN_PACKAGES, TARGET, Toolchain};

use crate::workspace;

/// The `cargo` of the toolchain that is there, set up to build reproducibly. On Debian, root installs one.
pub(super) fn cargo() -> anyhow::Result<Command> {
    let mut command = find_or_install()?.cargo(workspace::cargo());
    command.env("RUSTFLAGS", wasm_toolchain::remap_cargo_home());
    Ok(command)
}

fn find_or_install() -> anyhow::Result<Toolchain> {
    let root = workspace::root();
    if let Some(found) = Toolchain::find(&root) {
        return Ok(found);
    }
    if rustix::process::geteuid().is_root() && in_path("apt-get") {
        install()?;
    }
    let Some(found) = Toolchain::find(&root) else {
        bail!("no compiler for {TARGET}. Either of these installs one:\n{}", Toolchain::how_to_get())
    };
    Ok(found)
}

fn install() -> anyhow::Result<()> {
    let mut packages = DEBIAN_PACKAGES.to_vec();
    if !wasm_toolchain::has_linker(&workspace::root()) {
        packages.push(DEBIAN_LINKER);
    }
    println!("installing {}", packages.join(" "));
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    workspace::run(apt_get().arg("update"))?;
    workspace::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
