//! Reads the parts of a module that decide whether it can be compiled and run, before it is validated.

use std::collections::HashSet;

use mesh::wasm::PAGE_BYTES;
use wasmparser::{
    CompositeInnerType, ElementItems, Encoding, Export, ExternalKind, Import, MemoryType, Operator, Parser,
    Payload, RecGroup, SectionLimited, TypeRef,
};

use super::cost::{Arity, Totals, Types};
use super::invalid::InvalidCode;
use super::limits::{Place, TABLE_ELEMENTS, of_module};

/// What an import of a function, or a reference to a function, takes in an instance, in bytes.
const FUNCTION_BYTES: u64 = 32;
/// What a global or a table takes in an instance, in bytes.
const GLOBAL_BYTES: u64 = 16;

/// The imports and exports of a module, and the size of its instances.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    pub(super) imports: Vec<Import<'a>>,
    pub(super) exports: Vec<Export<'a>>,
    /// The size with which its memory begins, in bytes.
    pub(super) memory_bytes: u64,
    types: Types,
    /// The code section's entries so far.
    bodies: u32,
    totals: Totals,
    imported_functions: u32,
    tables: u32,
    globals: u64,
    elements: u64,
    /// Functions to which there may be references.
    referenced: HashSet<u32>,
}

impl<'a> Outline<'a> {
    /// Reads a module. Refuses one that exceeds a limit.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, InvalidCode> {
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            outline.add(payload?)?;
        }
        of_module::TABLES.check(Place::Module, outline.tables.into()).map_err(InvalidCode::NeverRunnable)?;
        let bytes = outline.instance_bytes();
        of_module::INSTANCE_BYTES.check(Place::Module, bytes).map_err(InvalidCode::NeverRunnable)?;
        Ok(outline)
    }

    fn add(&mut self, payload: Payload<'a>) -> Result<(), InvalidCode> {
        let complex = InvalidCode::TooComplex;
        match payload {
            Payload::Version { encoding: Encoding::Component, .. } => return Err(InvalidCode::Component),
            Payload::TypeSection(section) => self.add_types(section)?,
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.add_import(import?)?;
                }
            }
            Payload::FunctionSection(section) => {
                let functions = self.types.functions.len() as u64 + u64::from(section.count());
                of_module::FUNCTIONS.check(Place::Module, functions).map_err(complex)?;
                for index in section {
                    self.types.functions.push(index?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let place = Place::Table(self.tables);
                    self.tables = self.tables.saturating_add(1);
                    TABLE_ELEMENTS.check(place, table?.ty.initial).map_err(InvalidCode::NeverRunnable)?;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memory_bytes = self.memory_bytes.max(memory_size(memory?));
                }
            }
            Payload::GlobalSection(section) => self.globals = section.count().into(),
            Payload::ExportSection(section) => {
                of_module::EXPORTS.check(Place::Module, section.count().into()).map_err(complex)?;
                self.exports = section.into_iter().collect::<Result<_, _>>()?;
                let functions = self.exports.iter().filter(|export| export.kind == ExternalKind::Func);
                self.referenced.extend(functions.map(|export| export.index));
            }
            Payload::ElementSection(section) => {
                for segment in section {
                    self.add_elements(segment?.items)?;
                }
            }
            Payload::CodeSectionEntry(body) => {
                let index = self.imported_functions.saturating_add(self.bodies);
                self.bodies += 1;
                self.totals.add(&self.types, index, &body)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn add_types(&mut self, section: SectionLimited<'a, RecGroup>) -> Result<(), InvalidCode> {
        for group in section {
            for subtype in group?.into_types() {
                let arity = match &subtype.composite_type.inner {
                    CompositeInnerType::Func(function) => Arity {
                        params: function.params().len().try_into().unwrap_or(u32::MAX),
                        results: function.results().len().try_into().unwrap_or(u32::MAX),
                    },
                    _ => Arity::default(),
                };
                self.types.types.push(arity);
                let types = self.types.types.len() as u64;
                of_module::TYPES.check(Place::Module, types).map_err(InvalidCode::TooComplex)?;
            }
        }
        Ok(())
    }

    fn add_import(&mut self, import: Import<'a>) -> Result<(), InvalidCode> {
        if let TypeRef::Func(index) | TypeRef::FuncExact(index) = import.ty {
            self.types.functions.push(index);
            self.imported_functions += 1;
        }
        self.imports.push(import);
        let imports = self.imports.len() as u64;
        of_module::IMPORTS.check(Place::Module, imports).map_err(InvalidCode::TooComplex)
    }

    fn add_elements(&mut self, items: ElementItems<'a>) -> Result<(), InvalidCode> {
        let count = match &items {
            ElementItems::Functions(functions) => functions.count(),
            ElementItems::Expressions(_, expressions) => expressions.count(),
        };
        self.elements += u64::from(count);
        of_module::ELEMENTS.check(Place::Module, self.elements).map_err(InvalidCode::TooComplex)?;
        match items {
            ElementItems::Functions(functions) => {
                for function in functions {
                    self.referenced.insert(function?);
                }
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions {
                    for operator in expression?.get_operators_reader() {
                        if let Operator::RefFunc { function_index } = operator? {
                            self.referenced.insert(function_index);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// What an instance takes besides its memory and the elements of its tables. An instance of wasmtime takes a
    /// little more.
    fn instance_bytes(&self) -> u64 {
        let functions = u64::from(self.imported_functions) + self.referenced.len() as u64;
        functions * FUNCTION_BYTES + (self.globals + u64::from(self.tables)) * GLOBAL_BYTES
    }
}

/// The size with which a memory begins, in bytes.
pub(super) fn memory_size(memory: MemoryType) -> u64 {
    let page_bytes =
        memory.page_size_log2.map_or(PAGE_BYTES, |log2| 1_u64.checked_shl(log2).unwrap_or(u64::MAX));
    memory.initial.saturating_mul(page_bytes)
}
