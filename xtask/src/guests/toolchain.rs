//! The toolchain that compiles functions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use super::TARGET;
use crate::workspace;

/// What compiles for `wasm32-unknown-unknown`.
#[derive(Debug)]
pub(super) enum Toolchain {
    /// rustup's, with the target installed.
    Rustup,
    /// Debian's, which compiles the standard library from its source.
    Debian { linker: PathBuf },
}

impl Toolchain {
    /// The one that is there. On Debian, root installs one.
    pub(super) fn find_or_install() -> anyhow::Result<Self> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        if rustix::process::geteuid().is_root() && in_path("apt-get") {
            install()?;
        }
        let Some(found) = Self::find() else {
            bail!(
                "no compiler for {TARGET}. Either of these installs one:\n  \
                 rustup target add {TARGET}\n  apt-get install rustc-web cargo-web rust-web-src lld-22"
            )
        };
        Ok(found)
    }

    fn find() -> Option<Self> {
        let sysroot = sysroot();
        if sysroot.as_ref().is_some_and(|root| root.join("lib/rustlib").join(TARGET).join("lib").is_dir()) {
            return Some(Self::Rustup);
        }
        let is_debian = ["/usr/bin/cargo", "/usr/lib/rustlib/src/rust/library/Cargo.lock"]
            .map(Path::new)
            .map(Path::is_file);
        is_debian.into_iter().all(|is_there| is_there).then_some(())?;
        linker(sysroot.as_deref()).map(|linker| Self::Debian { linker })
    }

    /// Its `cargo`, set up to build reproducibly for the target.
    pub(super) fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Rustup => workspace::cargo(),
            Self::Debian { linker } => {
                let mut command = Command::new("/usr/bin/cargo");
                // Else it would use rustup's compiler.
                command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                command
            }
        };
        command.env("RUSTFLAGS", reproducible()).env_remove("RUSTC_WORKSPACE_WRAPPER");
        command
    }
}

/// Messages of panics name files; not where they are on this machine.
fn reproducible() -> String {
    let home = || std::env::home_dir().unwrap_or_default().join(".cargo");
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from);
    let root = workspace::root().canonicalize().unwrap_or_else(|_| workspace::root());
    format!(
        "--remap-path-prefix={}=/cargo --remap-path-prefix={}=/funless",
        cargo_home.display(),
        root.display()
    )
}

fn install() -> anyhow::Result<()> {
    let mut packages = vec!["rustc-web", "cargo-web", "rust-web-src"];
    if linker(sysroot().as_deref()).is_none() {
        packages.push("lld-22");
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

/// A linker for WebAssembly: the one of a rustup toolchain, else one of Debian's.
fn linker(sysroot: Option<&Path>) -> Option<PathBuf> {
    let of_rustup = sysroot
        .and_then(|root| root.join("lib/rustlib").read_dir().ok())
        .into_iter()
        .flat_map(|targets| targets.flatten().map(|target| target.path().join("bin/rust-lld")));
    let of_debian = Path::new("/usr/bin").read_dir().ok().into_iter().flat_map(|programs| {
        let is_linker = |name: &str| name == "rust-lld" || name.starts_with("wasm-ld");
        programs
            .flatten()
            .map(|program| program.path())
            .filter(move |path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_linker))
    });
    of_rustup.chain(of_debian).find(|path| path.is_file())
}

fn sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
