//! The one wasmtime engine of the worker.
//!
//! Instances come from a pool that is reserved at start-up. Memories are copy-on-write images, so that a
//! fresh instance costs microseconds, and no more of them exist than may run at once.

use anyhow::Context as _;
use mesh::wasm::{MAX_INSTANCE_BYTES, MAX_TABLE_ELEMENTS, MAX_TABLES, PAGE_BYTES};
use serde::{Deserialize, Serialize};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::backtrace::MAX_FRAMES;

/// Slots beyond those of the invocations that may run, for instances that are being torn down.
const SPARE_SLOTS: usize = 4;
/// Memory of a slot that stays mapped for the next instance, cleared, in bytes.
const MEMORY_KEEP_RESIDENT: usize = 256 << 10;
const TABLE_KEEP_RESIDENT: usize = 16 << 10;
/// Slots that stay warm for functions that are not running.
const WARM_SLOTS: usize = 32;
const DECOMMIT_BATCH: usize = 8;
/// Stack for host functions, in bytes, in addition to the guest's own.
const HOST_STACK: usize = 1 << 20;

/// What the engine reserves memory for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineLimits {
    /// Instances at once.
    pub(crate) instances: usize,
    /// The most memory of an instance, in bytes.
    pub(crate) memory_bytes: u64,
    /// The stack of an instance, in bytes.
    pub(crate) stack_bytes: usize,
}

/// How much address space linear memories get, from the fastest layout to the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PoolLayout {
    /// 4 GiB for each memory: code needs no bounds checks.
    Full,
    /// As much as each memory may grow to.
    Compact,
    /// No pool: each memory is mapped when needed.
    OnDemand,
}

/// An engine with the first layout that fits into the address space, which has only 39 bits on some
/// small machines.
pub(crate) fn build(limits: EngineLimits) -> anyhow::Result<(wasmtime::Engine, PoolLayout)> {
    for layout in [PoolLayout::Full, PoolLayout::Compact] {
        match with_layout(limits, layout) {
            Ok(engine) => return Ok((engine, layout)),
            Err(error) => {
                tracing::warn!(?layout, %error, "the pool of instances does not fit; trying a smaller one");
            }
        }
    }
    Ok((with_layout(limits, PoolLayout::OnDemand)?, PoolLayout::OnDemand))
}

/// An engine with this layout.
pub(crate) fn with_layout(limits: EngineLimits, layout: PoolLayout) -> anyhow::Result<wasmtime::Engine> {
    let mut config = code_settings(layout, limits.memory_bytes);
    config
        .wasm_backtrace_max_frames(Some(MAX_FRAMES))
        .max_wasm_stack(limits.stack_bytes)
        .async_stack_size(limits.stack_bytes + HOST_STACK);
    if layout != PoolLayout::OnDemand {
        let memory_bytes = limits.memory_bytes.next_multiple_of(PAGE_BYTES);
        let memory_bytes = usize::try_from(memory_bytes).context("memory_bytes")?;
        let instances = u32::try_from(limits.instances + SPARE_SLOTS).context("max_concurrent")?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, memory_bytes)));
    }
    wasmtime::Engine::new(&config).map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// An engine that only compiles, on the calling thread, for an engine with this layout. It reserves nothing.
pub(crate) fn for_compiler(layout: PoolLayout, memory_bytes: u64) -> anyhow::Result<wasmtime::Engine> {
    let mut config = code_settings(layout, memory_bytes);
    config.parallel_compilation(false);
    wasmtime::Engine::new(&config).map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// What machine code depends on: the engines that compile it and that run it must have the same.
fn code_settings(layout: PoolLayout, memory_bytes: u64) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_multi_memory(false).wasm_memory64(false);
    if layout != PoolLayout::Full {
        config.memory_reservation(memory_bytes.next_multiple_of(PAGE_BYTES)).memory_guard_size(PAGE_BYTES);
    }
    config
}

fn pool(instances: u32, memory_bytes: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(instances)
        .total_memories(instances)
        .total_tables(instances * MAX_TABLES)
        .total_stacks(instances)
        .total_component_instances(0)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS as usize)
        .max_core_instance_size(MAX_INSTANCE_BYTES as usize)
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
        for layout in [PoolLayout::Full, PoolLayout::Compact, PoolLayout::OnDemand] {
            let limits = EngineLimits { instances: 2, memory_bytes: 1 << 20, stack_bytes: 64 << 10 };
            let engine = with_layout(limits, layout).expect("fits");
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
        let limits = EngineLimits { instances: 40_000, memory_bytes: 1 << 20, stack_bytes: 64 << 10 };
        assert!(with_layout(limits, PoolLayout::Full).is_err());
        assert!(build(limits).is_ok());
    }
}
