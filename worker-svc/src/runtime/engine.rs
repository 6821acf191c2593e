//! The one wasmtime engine of the worker.
//!
//! Instances come from a pool that is reserved at the start: memories are copy-on-write images, so
//! that a fresh instance costs microseconds, and no more of them exist than may run at once.

use anyhow::Context as _;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::backtrace::MAX_FRAMES;

/// One page of WebAssembly's memory, in bytes.
const PAGE: u64 = 64 << 10;
/// Slots beside those of the invocations that may run: for what is just being taken down.
const SPARE_SLOTS: usize = 4;
/// Memory of a slot that stays in place for its next user, cleared, in bytes.
const MEMORY_KEEP_RESIDENT: usize = 256 << 10;
const TABLE_KEEP_RESIDENT: usize = 16 << 10;
/// Slots that stay warm for functions that do not run right now.
const WARM_SLOTS: usize = 32;
const DECOMMIT_BATCH: usize = 8;
const TABLES_PER_MODULE: u32 = 4;
/// Elements of one table, the most.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;
/// Stack for the host functions that a guest calls, in bytes, beside the guest's own.
const HOST_STACK: usize = 1 << 20;

/// What the engine is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// Instances at once.
    pub(crate) instances: usize,
    /// The most memory of an instance, in bytes.
    pub(crate) memory_bytes: u64,
    /// The stack of an instance, in bytes.
    pub(crate) stack_bytes: usize,
}

/// How much address space memories get, from the fastest to the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All that 32 bits can address for each memory: code needs no bounds checks.
    Whole,
    /// As much as a memory may grow to.
    Tight,
    /// No pool: each memory is mapped when it is needed.
    OnDemand,
}

/// An engine with the first layout that fits into the address space. Some small machines have 39
/// bits of it only.
pub(crate) fn build(capacity: Capacity) -> anyhow::Result<wasmtime::Engine> {
    for layout in [Layout::Whole, Layout::Tight] {
        match with_layout(capacity, layout) {
            Ok(engine) => return Ok(engine),
            Err(error) => {
                tracing::warn!(?layout, %error, "the pool of instances does not fit; trying a smaller one");
            }
        }
    }
    with_layout(capacity, Layout::OnDemand)
}

/// An engine with this layout.
pub(crate) fn with_layout(capacity: Capacity, layout: Layout) -> anyhow::Result<wasmtime::Engine> {
    let memory_bytes = capacity.memory_bytes.next_multiple_of(PAGE);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(Some(MAX_FRAMES))
        .max_wasm_stack(capacity.stack_bytes)
        .async_stack_size(capacity.stack_bytes + HOST_STACK)
        .wasm_multi_memory(false)
        .wasm_memory64(false);
    if layout != Layout::Whole {
        config.memory_reservation(memory_bytes).memory_guard_size(PAGE);
    }
    if layout != Layout::OnDemand {
        let memory_bytes = usize::try_from(memory_bytes).context("memory_bytes")?;
        let instances = u32::try_from(capacity.instances + SPARE_SLOTS).context("max_concurrent")?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, memory_bytes)));
    }
    wasmtime::Engine::new(&config).map_err(|error| anyhow::anyhow!("{error:#}"))
}

fn pool(instances: u32, memory_bytes: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(instances)
        .total_memories(instances)
        .total_tables(instances * TABLES_PER_MODULE)
        .total_stacks(instances)
        .total_component_instances(0)
        .max_tables_per_module(TABLES_PER_MODULE)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(memory_bytes)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto)
        .decommit_batch_size(DECOMMIT_BATCH)
        .max_unused_warm_slots(instances.min(WARM_SLOTS as u32));
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_run_in_every_layout() {
        const GUEST: &str = r#"(module (memory 1)
            (func (export "grow") (result i32) (memory.grow (i32.const 14)))
            (func (export "beyond") (result i32) (i32.load (i32.const 1000000))))"#;
        for layout in [Layout::Whole, Layout::Tight, Layout::OnDemand] {
            let capacity = Capacity { instances: 2, memory_bytes: 1 << 20, stack_bytes: 64 << 10 };
            let engine = with_layout(capacity, layout).expect("fits");
            let module = wasmtime::Module::new(&engine, wat::parse_str(GUEST).expect("well-formed"));
            let mut store = wasmtime::Store::new(&engine, ());
            store.set_epoch_deadline(1);
            let instance =
                wasmtime::Instance::new(&mut store, &module.expect("compiles"), &[]).expect("fits");
            let mut call = |name| instance.get_typed_func::<(), i32>(&mut store, name)?.call(&mut store, ());
            let trap = call("beyond").expect_err("out of bounds");
            assert_eq!(trap.downcast_ref(), Some(&wasmtime::Trap::MemoryOutOfBounds), "{layout:?}");
            assert_eq!(call("grow").expect("grows"), 1, "{layout:?}");
        }
    }

    #[test]
    fn a_pool_that_does_not_fit_is_made_smaller() {
        // 160 TiB, where processes have 128.
        let capacity = Capacity { instances: 40_000, memory_bytes: 1 << 20, stack_bytes: 64 << 10 };
        assert!(with_layout(capacity, Layout::Whole).is_err());
        assert!(build(capacity).is_ok());
    }
}
