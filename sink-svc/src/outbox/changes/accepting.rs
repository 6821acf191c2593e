//! Accepts results into the outbox.

use std::collections::{BTreeMap, HashSet};

use mesh::database::Result;
use proto::registry::v1::FunctionBinding;
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction};

use super::super::Tables;
use super::super::entity::{binding, outbox};
use super::{Acceptance, Function, Ledgers, MAX_ROWS};
use crate::outbox::Receiver;

/// The new results, by binding and invocation.
pub(super) struct Accepted(HashSet<(String, String)>);

impl Accepted {
    /// For how many sinks this result is new. Of two equal results in one transaction, the first is new.
    pub(super) fn take(&mut self, acceptance: &Acceptance) -> u64 {
        let arrival = &acceptance.arrival;
        let mut is_new =
            |sink: &&Receiver| self.0.remove(&(sink.binding_id.clone(), arrival.invocation_id.clone()));
        arrival.sinks.iter().filter(|sink| is_new(sink)).count() as u64
    }
}

impl Tables {
    /// Adds new results to the outbox.
    pub(super) async fn accept_all(
        &self,
        transaction: &DatabaseTransaction,
        accepted: &[&Acceptance],
        ledgers: &mut Ledgers,
    ) -> Result<Accepted> {
        self.describe_unknown(transaction, accepted).await?;
        let rows = accepted
            .iter()
            .flat_map(|acceptance| acceptance.arrival.sinks.iter().map(move |sink| (sink, *acceptance)));
        let rows: Vec<_> = rows.collect();
        let mut new = HashSet::new();
        for rows in rows.chunks(MAX_ROWS) {
            let mut insert = insert_outbox();
            for (sink, Acceptance { arrival, received_at_ms, .. }) in rows {
                insert.values_panic([
                    sink.binding_id.as_str().into(),
                    arrival.invocation_id.as_str().into(),
                    (*received_at_ms).into(),
                    (*received_at_ms).into(),
                    i64::try_from(arrival.result.len()).unwrap_or(i64::MAX).into(),
                    arrival.result.to_vec().into(),
                    sink.trace.map(|trace| trace.to_string()).into(),
                ]);
            }
            for row in transaction.query_all(&insert).await? {
                let (binding_id, invocation_id): (String, String) = (row.try_get_by(0)?, row.try_get_by(1)?);
                ledgers.accepted(&binding_id, row.try_get_by(2)?);
                new.insert((binding_id, invocation_id));
            }
        }
        Ok(Accepted(new))
    }

    /// Stores the functions of bindings, unless they are known to be stored already.
    async fn describe_unknown(
        &self,
        transaction: &DatabaseTransaction,
        accepted: &[&Acceptance],
    ) -> Result<()> {
        let unknown: BTreeMap<_, _> = {
            let known = self.known.lock();
            let all = accepted.iter().flat_map(|acceptance| {
                let arrival = &acceptance.arrival;
                arrival.sinks.iter().map(|sink| (sink.binding_id.clone(), arrival.function.clone()))
            });
            all.filter(|(binding_id, function)| known.get(binding_id) != Some(function)).collect()
        };
        for (binding_id, function) in unknown {
            write_binding(transaction, &binding_id, None, function).await?;
        }
        Ok(())
    }
}

/// Stores the description of a binding.
pub(super) async fn describe(transaction: &DatabaseTransaction, binding: &FunctionBinding) -> Result<u64> {
    let Some(it) = &binding.binding else { return Ok(0) };
    write_binding(transaction, &it.id, Some(&it.r#type), Function::of(binding)).await
}

/// Without a type, the stored one is kept.
async fn write_binding(
    transaction: &DatabaseTransaction,
    binding_id: &str,
    r#type: Option<&str>,
    function: Function,
) -> Result<u64> {
    const FUNCTION_COLUMNS: [binding::Column; 4] = [
        binding::Column::FunctionId,
        binding::Column::Module,
        binding::Column::Function,
        binding::Column::Owner,
    ];
    let mut insert = Query::insert();
    insert.into_table(binding::Entity);
    insert.columns([binding::Column::Id, binding::Column::Type].into_iter().chain(FUNCTION_COLUMNS));
    insert.values_panic([
        binding_id.into(),
        r#type.unwrap_or_default().into(),
        function.id.into(),
        function.module.into(),
        function.name.into(),
        function.owner.into(),
    ]);
    let replaced = FUNCTION_COLUMNS.into_iter().chain(r#type.map(|_| binding::Column::Type));
    insert.on_conflict(OnConflict::column(binding::Column::Id).update_columns(replaced).to_owned());
    Ok(transaction.execute(&insert).await?.rows_affected())
}

/// Inserts rows that do not exist yet and returns the binding, invocation and size of each.
fn insert_outbox() -> sea_orm::sea_query::InsertStatement {
    use outbox::Column::{BindingId, DueAtMs, InvocationId, ReceivedAtMs, Result, Size, Traceparent};
    let mut insert = Query::insert();
    insert
        .into_table(outbox::Entity)
        .columns([BindingId, InvocationId, DueAtMs, ReceivedAtMs, Size, Result, Traceparent])
        .on_conflict(OnConflict::columns([BindingId, InvocationId]).do_nothing().to_owned())
        .returning(Query::returning().columns([BindingId, InvocationId, Size]));
    insert
}
