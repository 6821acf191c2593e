//! Runs each case against each shape, with the names, filters and output of `cargo test`.
//!
//! This is a custom harness because many cases share a mesh, which has to stop after the last one.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::{Mesh, Shape};

/// The timeout of a case. Only a case that hangs takes longer.
const CASE_TIMEOUT: Duration = Duration::from_secs(240);

/// A case that shares a mesh with other cases and does not affect them.
pub type SharedCase = for<'a> fn(&'a Mesh) -> LocalBoxFuture<'a, ()>;
/// A case that starts its own mesh.
pub type OwnCase = fn(Shape) -> LocalBoxFuture<'static, ()>;

/// Shapes, and the named cases to run against each of them.
pub type Listed<'a> = (&'a [Shape], Vec<(&'static str, OwnCase)>);

/// The named cases, which are `async fn`s: `cases![functions::uploaded, ...]`.
#[macro_export]
macro_rules! cases {
    ($($module:ident::$case:ident),+ $(,)?) => {
        vec![$((
            concat!(stringify!($module), "::", stringify!($case)),
            |subject| Box::pin($module::$case(subject)),
        )),+]
    };
}

/// Runs cases that share one mesh of each shape.
pub fn run_shared(cases: Vec<(&'static str, SharedCase)>) -> ExitCode {
    let runtime = runtime();
    let meshes = [Shape::ONE_PROCESS, Shape::SIX_PROCESSES].map(SharedMesh::new).map(Arc::new);
    let mut trials = Vec::new();
    for mesh in &meshes {
        for (name, case) in &cases {
            let (mesh, case, runtime) = (Arc::clone(mesh), *case, Arc::clone(&runtime));
            let name = format!("{}::{name}", mesh.shape.name);
            trials.push(Trial::test(name, move || {
                runtime.block_on(limited(async { case(mesh.get().await).await }))
            }));
        }
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if conclusion.has_failed() {
        meshes.iter().filter_map(|mesh| mesh.started.get()).for_each(Mesh::show_log);
    }
    conclusion.exit_code()
}

/// Runs cases that start their own mesh. By default they run one after the other, because some measure time.
pub fn run_alone(cases: Vec<Listed<'_>>) -> ExitCode {
    run_alone_unless(None, cases)
}

/// Like [`run_alone`], but if something is `missing`, the cases are ignored with this reason.
pub fn run_alone_unless(missing: Option<&str>, cases: Vec<Listed<'_>>) -> ExitCode {
    let runtime = runtime();
    let mut trials = Vec::new();
    for (shapes, cases) in cases {
        for (name, case) in cases {
            trials.extend(shapes.iter().map(|&shape| {
                let runtime = Arc::clone(&runtime);
                let name = format!("{}::{name}", shape.name);
                let trial = Trial::test(name, move || runtime.block_on(limited(case(shape))));
                trial.with_kind(missing.unwrap_or_default()).with_ignored_flag(missing.is_some())
            }));
        }
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn runtime() -> Arc<Runtime> {
    Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"))
}

/// A mesh that is started by the first case that needs it.
struct SharedMesh {
    shape: Shape,
    started: OnceCell<Mesh>,
    /// The mesh failed to start. It is not tried again.
    failed: AtomicBool,
}

impl SharedMesh {
    fn new(shape: Shape) -> Self {
        Self { shape, started: OnceCell::new(), failed: AtomicBool::new(false) }
    }

    async fn get(&self) -> &Mesh {
        let start = async || {
            assert!(
                !self.failed.swap(true, Ordering::Relaxed),
                "the mesh failed to start for an earlier case"
            );
            let mesh = Mesh::start(self.shape).await;
            self.failed.store(false, Ordering::Relaxed);
            mesh
        };
        self.started.get_or_init(start).await
    }
}

async fn limited(case: impl Future<Output = ()>) -> Result<(), Failed> {
    let ended = tokio::time::timeout(CASE_TIMEOUT, case).await;
    ended.map_err(|_| format!("the case did not end within {CASE_TIMEOUT:?}").into())
}
