//! Bindings, without their parameters.

use std::sync::Arc;

use proto::registry::v1::FunctionBinding;

/// The function that the events of a binding trigger. The parameters, which hold secrets, are not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BoundFunction {
    pub(crate) binding_id: Arc<str>,
    /// The `type` of the binding.
    pub(crate) kind: String,
    pub(crate) function_id: String,
    pub(crate) module: String,
    pub(crate) function: String,
    /// See `funless.registry.v1.FunctionBinding.owner`.
    pub(crate) owner: String,
}

impl BoundFunction {
    /// The function of `bound`.
    pub(crate) fn of(bound: &FunctionBinding) -> Self {
        let binding = bound.binding.as_ref();
        Self {
            binding_id: binding.map_or("", |binding| &binding.id).into(),
            kind: binding.map(|binding| binding.r#type.clone()).unwrap_or_default(),
            function_id: bound.function_id.clone(),
            module: bound.module.clone(),
            function: bound.function.clone(),
            owner: bound.owner.clone(),
        }
    }
}
