//! Modules that run JavaScript: the engine of `guest/quickjs` with a program.

use anyhow::{Context as _, bail};
use wasm_encoder::{ConstExpr, DataCountSection, DataSection, MemorySection, MemoryType, Module, RawSection};
use wasmparser::{DataKind, ExternalKind, Operator, Parser, Payload};

/// Compiled by `cargo xtask quickjs`.
const ENGINE: &[u8] = include_bytes!("../../../guest/quickjs/engine.wasm");
/// The engine exports the address of the program's address and length by this name.
const PROGRAM: &str = "fl_program";
const PAGE_BYTES: usize = 64 << 10;

/// The engine with this program, a module of JavaScript.
pub fn module_with(program: &str) -> anyhow::Result<Vec<u8>> {
    let Layout { descriptor, pages } = Layout::read(ENGINE)?;
    // Behind the memory of the engine, whose allocator takes what is behind the program.
    let address = pages * PAGE_BYTES;
    let mut text = program.as_bytes().to_vec();
    text.push(0);
    let place = [address, program.len()].map(|number| u32::try_from(number).map(u32::to_le_bytes));
    let [at, length] = place;
    let place =
        [at.context("the program is too large")?, length.context("the program is too large")?].concat();
    let segments = [(address, text), (descriptor, place)];
    let pages = pages + segments[0].1.len().div_ceil(PAGE_BYTES);
    with_segments(ENGINE, pages, &segments)
}

/// What is to be known of the engine.
struct Layout {
    /// Where the place of the program goes.
    descriptor: usize,
    /// With which its memory begins.
    pages: usize,
}

impl Layout {
    fn read(module: &[u8]) -> anyhow::Result<Self> {
        let (mut pages, mut globals, mut descriptor) = (None, Vec::new(), None);
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::MemorySection(memories) => {
                    let memory = memories.into_iter().next().context("no memory")??;
                    pages = Some(usize::try_from(memory.initial)?);
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        globals.push(constant(global?.init_expr.get_operators_reader())?);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if (export.kind, export.name) == (ExternalKind::Global, PROGRAM) {
                            descriptor = globals.get(usize::try_from(export.index)?).copied();
                        }
                    }
                }
                _ => {}
            }
        }
        let descriptor = descriptor.with_context(|| format!("no {PROGRAM}"))?;
        Ok(Self { descriptor: usize::try_from(descriptor)?, pages: pages.context("no memory")? })
    }
}

/// The value of a constant expression.
fn constant(mut expression: wasmparser::OperatorsReader<'_>) -> anyhow::Result<i32> {
    match expression.read()? {
        Operator::I32Const { value } => Ok(value),
        other => bail!("expected i32.const, found {other:?}"),
    }
}

/// The module with so many pages of memory and more data.
fn with_segments(module: &[u8], pages: usize, segments: &[(usize, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut encoded = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::MemorySection(memories) => {
                let mut section = MemorySection::new();
                for memory in memories {
                    let memory = memory?;
                    section.memory(MemoryType {
                        minimum: u64::try_from(pages)?,
                        maximum: memory.maximum,
                        memory64: memory.memory64,
                        shared: memory.shared,
                        page_size_log2: memory.page_size_log2,
                    });
                }
                encoded.section(&section);
            }
            Payload::DataCountSection { count, .. } => {
                encoded.section(&DataCountSection { count: count + u32::try_from(segments.len())? });
            }
            Payload::DataSection(data) => {
                let mut section = DataSection::new();
                for data in data {
                    let data = data?;
                    let DataKind::Active { offset_expr, .. } = data.kind else {
                        section.passive(data.data.iter().copied());
                        continue;
                    };
                    let offset = ConstExpr::i32_const(constant(offset_expr.get_operators_reader())?);
                    section.active(0, &offset, data.data.iter().copied());
                }
                for (address, bytes) in segments {
                    let offset = ConstExpr::i32_const(i32::try_from(*address)?);
                    section.active(0, &offset, bytes.iter().copied());
                }
                encoded.section(&section);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    encoded.section(&RawSection { id, data: &module[range] });
                }
            }
        }
    }
    Ok(encoded.finish())
}
