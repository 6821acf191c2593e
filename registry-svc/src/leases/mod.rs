//! Leases: which replica of a service runs which binding.
//!
//! A holder's leases expire together. The holder calls several times per lease duration, and each call renews
//! all of its leases. Leases are not part of the registry's revisions.

mod sharing;

use std::collections::{HashMap, HashSet};

use mesh::Caller;
use mesh::endpoint::Endpoint;
use proto::registry::v1::{
    BindingHolder, BindingRole, FindHoldersResponse, HoldBindingsRequest, HoldBindingsResponse,
};

use self::sharing::Holdings;
use crate::error::{RegistryError, Result};
use crate::names;
use crate::registry::Registry;
use crate::store::{Holder, LeaseWrite, RoleBindings};

/// How long expired holders are kept before they are deleted, in milliseconds.
const REMEMBERED_MS: i64 = 10 * 60 * 1000;

impl Registry {
    /// Renews the leases of a holder and returns the bindings that it should run.
    pub(crate) async fn hold_bindings(
        &self,
        caller: &Caller,
        request: HoldBindingsRequest,
    ) -> Result<HoldBindingsResponse> {
        caller.only_services()?;
        let role = accept_role(request.role)?;
        accept_holder(&request)?;

        let write = self.store.lease(role).await?;
        let holders = self.renew_holder(&write, &request).await?;
        let known = self.known_bindings.read(&write.read(), role).await?;
        let bindings = &known.bindings;
        let leases = write.leases().await?;

        let holdings = holdings(bindings, &leases, &holders);
        let running: HashSet<_> = request.running.iter().map(String::as_str).collect();
        let share = holdings.share_of(&request.holder, &running);
        write.take_leases(&request.holder, &share.taken).await?;
        write.free_leases(&share.freed).await?;
        write.commit().await?;

        self.log_unreadable(bindings);
        let is_news = |id: &&&str| !running.contains(**id) || known.has_changed(id, request.known_revision);
        let news = share.run.iter().filter(is_news).filter_map(|id| bindings.readable.get(*id));
        let run: HashSet<_> = share.run.iter().copied().collect();
        let stopped = request.running.iter().filter(|id| !run.contains(id.as_str())).cloned();
        let (released, removed) = stopped.partition(|id| bindings.contains(id));
        Ok(HoldBindingsResponse {
            bindings: news.cloned().collect(),
            removed,
            released,
            lease_ms: self.binding_lease_ms,
            revision: known.newest_revision,
            known_revision: known.since.number,
        })
    }

    /// Deletes a holder and all of its leases.
    pub(crate) async fn release_bindings(&self, caller: &Caller, role: i32, holder: &str) -> Result<()> {
        caller.only_services()?;
        let write = self.store.lease(accept_role(role)?).await?;
        self.delete_holder(&write, holder).await?;
        Ok(write.commit().await?)
    }

    /// The current holders of these bindings, and which of the bindings exist.
    pub(crate) async fn find_holders(&self, caller: &Caller, ids: &[String]) -> Result<FindHoldersResponse> {
        caller.only_services()?;
        let reader = self.store.read();
        let (now_ms, leased) = (reader.clock_ms().await?, reader.find_holders(ids).await?);
        let leased = leased.into_iter().map(|(binding_id, holder)| (binding_id, self.latest(holder)));
        let alive = leased.filter(|(_, holder)| holder.expires_at_ms > now_ms);
        let holders =
            alive.map(|(binding_id, holder)| BindingHolder { binding_id, address: holder.address }).collect();
        Ok(FindHoldersResponse { holders, existing: reader.existing_bindings(ids).await? })
    }

    /// Renews the calling holder and returns all holders that are alive.
    async fn renew_holder(&self, write: &LeaseWrite, request: &HoldBindingsRequest) -> Result<Vec<Holder>> {
        let lease_ms = i64::from(self.binding_lease_ms);
        let own = Holder {
            name: request.holder.clone(),
            address: request.address.clone(),
            stopping: request.stopping,
            expires_at_ms: write.now_ms + lease_ms,
        };
        let known = write.holders().await?;
        let mut known: Vec<_> = known.into_iter().map(|holder| self.latest(holder)).collect();
        for other in &mut known {
            // Written while the clock was wrong. Who is alive renews it in time.
            if other.expires_at_ms > own.expires_at_ms {
                let former = other.clone();
                other.expires_at_ms = own.expires_at_ms;
                self.put_holder(write, other, Some(&former)).await?;
            }
        }
        let former = known.iter().find(|known| known.name == own.name);
        let starts = former.is_none() && request.running.is_empty();
        let mut alive = Vec::new();
        for other in known.iter().filter(|other| other.name != own.name) {
            // A new holder at the same address means that the former one has ended.
            let is_succeeded = starts && other.address == own.address;
            if is_succeeded || other.expires_at_ms + REMEMBERED_MS < write.now_ms {
                self.delete_holder(write, &other.name).await?;
            } else if other.expires_at_ms > write.now_ms {
                alive.push(other.clone());
            } else if former
                .is_some_and(|former| expired_in_same_outage(former, other, write.now_ms, lease_ms))
            {
                let spared = Holder { expires_at_ms: own.expires_at_ms, ..other.clone() };
                self.put_holder(write, &spared, Some(other)).await?;
                alive.push(spared);
            }
        }
        self.put_holder(write, &own, former).await?;
        alive.push(own);
        Ok(alive)
    }

    /// The holder as it is stored, with its latest renewal.
    fn latest(&self, stored: Holder) -> Holder {
        match &self.renewals {
            Some(renewals) => renewals.latest(stored),
            None => stored,
        }
    }

    /// Renews a holder. With renewals in memory, only a holder that differs from `former` in something else is written.
    async fn put_holder(&self, write: &LeaseWrite, holder: &Holder, former: Option<&Holder>) -> Result<()> {
        if let Some(renewals) = &self.renewals {
            renewals.renew(holder);
            let renewed =
                former.map(|former| Holder { expires_at_ms: holder.expires_at_ms, ..former.clone() });
            if renewed.as_ref() == Some(holder) {
                return Ok(());
            }
        }
        Ok(write.put_holder(holder).await?)
    }

    async fn delete_holder(&self, write: &LeaseWrite, name: &str) -> Result<()> {
        if let Some(renewals) = &self.renewals {
            renewals.remove(name);
        }
        Ok(write.delete_holder(name).await?)
    }

    /// Logs unreadable bindings, each one once, because holders call repeatedly.
    fn log_unreadable(&self, bindings: &RoleBindings) {
        let mut logged = self.unreadable_logged.lock();
        for (id, unreadable) in &bindings.unreadable {
            if logged.insert(id.clone()) {
                tracing::error!(
                    binding = id,
                    function = format!("{}/{}", unreadable.module, unreadable.function),
                    cause = %unreadable.cause,
                    "a binding cannot be decrypted and does not run; add its key to former_encryption_keys \
                     and restart, or update the function with the binding's parameters"
                );
            }
        }
    }
}

/// Whether the leases of both holders have expired because of the same outage of the registry. If so, the
/// other one gets time to show that it is alive.
fn expired_in_same_outage(holder: &Holder, other: &Holder, now_ms: i64, lease_ms: i64) -> bool {
    holder.expires_at_ms <= now_ms && other.expires_at_ms > holder.expires_at_ms - lease_ms
}

fn holdings<'a>(
    bindings: &'a RoleBindings,
    leases: &'a HashMap<String, String>,
    holders: &'a [Holder],
) -> Holdings<'a> {
    let alive: HashSet<_> = holders.iter().map(|holder| holder.name.as_str()).collect();
    let leases = leases.iter().map(|(binding, holder)| (binding.as_str(), holder.as_str()));
    Holdings {
        bindings: bindings.order.iter().map(String::as_str).collect(),
        leases: leases.filter(|(_, holder)| alive.contains(holder)).collect(),
        sharers: holders.iter().filter(|holder| !holder.stopping).map(|holder| &*holder.name).collect(),
    }
}

fn accept_role(role: i32) -> Result<BindingRole> {
    match BindingRole::try_from(role) {
        Ok(role @ (BindingRole::Event | BindingRole::Sink)) => Ok(role),
        Ok(BindingRole::Unspecified) | Err(_) => {
            Err(RegistryError::field("role", "must be BINDING_ROLE_EVENT or BINDING_ROLE_SINK"))
        }
    }
}

fn accept_holder(request: &HoldBindingsRequest) -> Result<()> {
    if request.holder.trim().is_empty() {
        return Err(RegistryError::field("holder", "can't be blank"));
    }
    names::check_text("holder", &request.holder)?;
    let endpoint = request.address.parse::<Endpoint>();
    endpoint.map(drop).map_err(|error| RegistryError::field("address", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_outage_spares_an_expired_holder() {
        let holder = |expires_at_ms| Holder {
            name: String::new(),
            address: String::new(),
            stopping: false,
            expires_at_ms,
        };
        // Leases last 6 s. The holder last renewed its own at 4 s; now it is 30 s.
        let cases = [
            (10_000, 12_000, true, "renewed after the holder, before the outage"),
            (10_000, 4_001, true, "renewed before the holder and was due to renew again"),
            (10_000, 4_000, false, "had expired before the outage"),
            (30_001, 29_000, false, "the holder is in time, so there was no outage"),
        ];
        for (own, other, expected, why) in cases {
            assert_eq!(
                expired_in_same_outage(&holder(own), &holder(other), 30_000, 6_000),
                expected,
                "{why}"
            );
        }
    }
}
