//! Checks components at upload: their core modules, what they import, and what they export.

use proto::registry::v1::CodeKind;
use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{Encoding, Instance, Parser, Payload, Validator, WasmFeatures};

use super::cost::Totals;
use super::interfaces::Interface;
use super::invalid::InvalidCode;
use super::limits::{Place, of_component};
use super::outline::Outline;
use super::valid::{FEATURES, Valid};

const HANDLER: &str = "wasi:http/incoming-handler";
const COMMAND: &str = "wasi:cli/run";
/// The handler of WASI 0.3.
const HANDLER_OF_WASI_3: &str = "wasi:http/handler";

/// The features that wasmtime 48 accepts in components by default when built like the workers build it.
const COMPONENT_FEATURES: WasmFeatures = FEATURES.union(WasmFeatures::COMPONENT_MODEL);

/// Validates a component that should run on the workers.
pub(super) fn validate(bytes: &[u8]) -> Result<Valid, InvalidCode> {
    let outline = ComponentOutline::read(bytes)?;
    let types = Validator::new_with_features(COMPONENT_FEATURES).validate_all(bytes)?;
    let kind = recognise(&outline, &types)?;
    for import in &outline.imports {
        check_import(import, &types)?;
    }
    Ok(Valid { kind, memory_bytes: outline.memory_bytes })
}

/// The imports and exports of a component, and what its instances need.
#[derive(Debug, Default)]
struct ComponentOutline<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
    /// The size with which all memories begin, in bytes.
    memory_bytes: u64,
    core_modules: u32,
    core_instances: u32,
    memories: u32,
    tables: u32,
    instance_bytes: u64,
    totals: Totals,
}

/// What is being read: components and modules inside each other.
enum Frame<'a> {
    Component,
    Module(Box<Outline<'a>>),
}

impl<'a> ComponentOutline<'a> {
    /// Reads a component. Refuses one that exceeds a limit.
    fn read(bytes: &'a [u8]) -> Result<Self, InvalidCode> {
        let mut outline = Self::default();
        let mut frames = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            match payload {
                Payload::Version { encoding: Encoding::Component, .. } => frames.push(Frame::Component),
                Payload::Version { encoding: Encoding::Module, .. } => {
                    outline.core_modules += 1;
                    let module = Outline::after(std::mem::take(&mut outline.totals));
                    frames.push(Frame::Module(Box::new(module)));
                }
                Payload::End(_) => {
                    if let Some(Frame::Module(module)) = frames.pop() {
                        outline.add_module(*module)?;
                    }
                }
                payload => match frames.last_mut() {
                    Some(Frame::Module(module)) => {
                        let number = outline.core_modules - 1;
                        module.add(payload).map_err(|invalid| invalid.in_core_module(number))?;
                    }
                    _ => outline.add(&payload, frames.len() == 1)?,
                },
            }
        }
        Ok(outline)
    }

    /// Adds a core module, which has been read.
    fn add_module(&mut self, module: Outline<'_>) -> Result<(), InvalidCode> {
        let number = self.core_modules - 1;
        module.check_instance().map_err(|invalid| invalid.in_core_module(number))?;
        self.memory_bytes = self.memory_bytes.saturating_add(module.memory_bytes);
        self.memories = self.memories.saturating_add(module.memories);
        self.tables = self.tables.saturating_add(module.tables);
        self.instance_bytes += module.instance_bytes();
        self.totals = module.into_totals();
        for (limit, found) in [
            (of_component::MEMORIES, self.memories.into()),
            (of_component::TABLES, self.tables.into()),
            (of_component::INSTANCE_BYTES, self.instance_bytes),
        ] {
            limit.check(Place::Module, found).map_err(InvalidCode::NeverRunnable)?;
        }
        Ok(())
    }

    /// Adds a section of the component, or of one inside of it.
    fn add(&mut self, payload: &Payload<'a>, is_outermost: bool) -> Result<(), InvalidCode> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    self.core_instances += u32::from(matches!(instance?, Instance::Instantiate { .. }));
                    let instances = self.core_instances.into();
                    let checked = of_component::CORE_INSTANCES.check(Place::Module, instances);
                    checked.map_err(InvalidCode::NeverRunnable)?;
                }
            }
            Payload::ComponentImportSection(section) if is_outermost => {
                for import in section.clone() {
                    self.imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if is_outermost => {
                for export in section.clone() {
                    self.exports.push(export?.name.name);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Detects the component's kind from its exports.
fn recognise(outline: &ComponentOutline<'_>, types: &Types) -> Result<CodeKind, InvalidCode> {
    let exports = || outline.exports.iter().map(|text| (*text, Interface::parse(text)));
    let find = |name| exports().find(|(_, found)| found.name == name && found.check_version().is_ok());
    let kinds =
        [(HANDLER, "handle", 2, CodeKind::HttpComponent), (COMMAND, "run", 0, CodeKind::CommandComponent)];
    for (name, function, params, kind) in kinds {
        let Some((text, _)) = find(name) else { continue };
        return match exports_function(text, function, params, kind == CodeKind::CommandComponent, types) {
            true => Ok(kind),
            false => Err(InvalidCode::WrongInterface { name: text.to_owned() }),
        };
    }
    let of_wasi_3 = exports().find(|(_, found)| [HANDLER, COMMAND, HANDLER_OF_WASI_3].contains(&found.name));
    match of_wasi_3 {
        Some((text, found)) if found.is_of_wasi_3() => Err(InvalidCode::Wasi3 { name: text.to_owned() }),
        _ => Err(InvalidCode::NoHandler),
    }
}

/// Whether the component exports an instance by this name, with a function that has so many parameters.
fn exports_function(name: &str, function: &str, params: usize, has_result: bool, types: &Types) -> bool {
    let types = types.as_ref();
    let Some(ComponentEntityType::Instance(instance)) =
        types.component_item_for_export(name).map(|item| item.ty)
    else {
        return false;
    };
    match types[instance].exports.get(function).map(|item| item.ty) {
        Some(ComponentEntityType::Func(function)) => {
            let function = &types[function];
            function.params.len() == params && function.result.is_some() == has_result
        }
        _ => false,
    }
}

/// Refuses what no worker can link.
fn check_import(text: &str, types: &Types) -> Result<(), InvalidCode> {
    let name = || text.to_owned();
    let interface = Interface::parse(text);
    let functions = interface.functions().ok_or_else(|| InvalidCode::UnknownInterface { name: name() })?;
    interface.check_version().map_err(|expected| InvalidCode::WrongVersion { name: name(), expected })?;
    let types = types.as_ref();
    let Some(ComponentEntityType::Instance(instance)) =
        types.component_item_for_import(text).map(|item| item.ty)
    else {
        return Err(InvalidCode::UnknownInterface { name: name() });
    };
    let known: Vec<_> = functions.collect();
    for (function, found) in &types[instance].exports {
        // Types come along with the functions that use them.
        let is_type = matches!(found.ty, ComponentEntityType::Type { .. });
        if !is_type && !known.contains(&function.as_str()) {
            return Err(InvalidCode::UnknownFunction { name: name(), function: function.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
