//! The Rust toolchain that compiles functions to WebAssembly: `fl fn build` and `cargo xtask guests` look for it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of functions.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's packages, without a linker.
pub const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// A linker for WebAssembly among Debian's packages.
pub const DEBIAN_LINKER: &str = "lld-22";

/// What compiles for [`TARGET`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// rustup's, with the target installed.
    Rustup,
    /// Debian's, which compiles the standard library from its source.
    Debian {
        /// A linker for WebAssembly.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// The one that is there for the sources in this folder, which may pin a toolchain of rustup's.
    pub fn find(folder: &Path) -> Option<Self> {
        let sysroot = sysroot(folder);
        if sysroot.as_ref().is_some_and(|root| root.join("lib/rustlib").join(TARGET).join("lib").is_dir()) {
            return Some(Self::Rustup);
        }
        let is_debian = ["/usr/bin/cargo", "/usr/lib/rustlib/src/rust/library/Cargo.lock"]
            .map(Path::new)
            .map(Path::is_file);
        is_debian.into_iter().all(|is_there| is_there).then_some(())?;
        linker(sysroot.as_deref()).map(|linker| Self::Debian { linker })
    }

    /// The commands that install one, a line each.
    pub fn how_to_get() -> String {
        format!(
            "rustup target add {TARGET}\napt-get install {} {DEBIAN_LINKER}   (Debian)",
            DEBIAN_PACKAGES.join(" ")
        )
    }

    /// Its `cargo`. `of_rustup` is that of rustup.
    pub fn cargo(&self, of_rustup: Command) -> Command {
        let mut command = match self {
            Self::Rustup => of_rustup,
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
        command.env_remove("RUSTC_WORKSPACE_WRAPPER");
        command
    }
}

/// The flag of the compiler that keeps the home folder out of the messages of panics, which name files. Those of the
/// function itself are relative anyway.
pub fn remap_cargo_home() -> String {
    let home = || std::env::home_dir().unwrap_or_default().join(".cargo");
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from);
    format!("--remap-path-prefix={}=/cargo", cargo_home.display())
}

/// Whether a linker for WebAssembly is there for the sources in this folder.
pub fn has_linker(folder: &Path) -> bool {
    linker(sysroot(folder).as_deref()).is_some()
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

fn sysroot(folder: &Path) -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).current_dir(folder).output().ok()?;
    output.status.success().then_some(())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}
