//! Subjects: the users of the mesh, identified by their tokens.

use mesh::Caller;
use mesh::auth::Secret;
use mesh::clock::now_ms;
use mesh::database;
use mesh::hash::Hash;
use proto::registry::v1::{Role, Subject};

use crate::config::Config;
use crate::error::{RegistryError, Result};
use crate::names;
use crate::registry::{Registry, only_admins};

/// The prefix of issued tokens, so that secret scanners can detect leaked ones.
const TOKEN_PREFIX: &str = "fl_";

/// A subject defined by the configuration, with the hash of its token.
pub(crate) type BootstrapSubject = (Subject, Hash);

/// The bootstrap subjects of `config`.
pub(crate) fn bootstrap(config: &Config) -> Vec<BootstrapSubject> {
    let wanted = [("guest", Role::Subject, &config.guest_token), ("admin", Role::Admin, &config.admin_token)];
    let wanted = wanted.into_iter().filter_map(|(name, role, token)| {
        let subject = Subject { name: name.to_owned(), role: role.into(), expires_at_ms: 0 };
        Some((subject, Hash::of(token.as_ref()?.expose().as_bytes())))
    });
    wanted.collect()
}

impl Registry {
    /// Creates or replaces the bootstrap subjects and their tokens. Writes nothing if they are up to date.
    pub(crate) async fn ensure_subjects(&self, wanted: &[BootstrapSubject]) -> database::Result<()> {
        let mut write = self.store.write().await?;
        let mut changed = false;
        for (subject, token) in wanted {
            if write.read().subject_of(token).await?.as_ref() != Some(subject) {
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
        for (subject, token) in wanted {
            write.delete_subject(&subject.name).await?;
            write.revoke_token(token).await?;
        }
        for (subject, token) in wanted {
            write.insert_subject(subject, token).await?;
        }
        write.commit().await?;
        Ok(())
    }

    /// Creates a subject and issues its token. Only a hash of the token is stored.
    pub(crate) async fn create_subject(
        &self,
        caller: &Caller,
        name: &str,
        role: i32,
    ) -> Result<(Subject, Secret)> {
        only_admins(caller)?;
        names::check(name)?;
        let role = match Role::try_from(role) {
            Ok(Role::Unspecified | Role::Subject) => Role::Subject,
            Ok(Role::Admin) => Role::Admin,
            Err(_) => return Err(RegistryError::field("role", "must be ROLE_SUBJECT or ROLE_ADMIN")),
        };
        let mut write = self.store.write().await?;
        if write.read().has_subject(name).await? {
            return Err(RegistryError::name_taken());
        }
        if write.read().owns_modules(name).await? {
            let message = "is the owner of modules of a deleted subject; delete these modules first";
            return Err(RegistryError::field("name", message));
        }
        if write.read().has_created(name).await? {
            let message = "is the creator of functions of a deleted subject; delete these functions first";
            return Err(RegistryError::field("name", message));
        }
        if write.read().owns_scripts(name).await? {
            let message = "is the owner of scripts of a deleted subject; delete these scripts first";
            return Err(RegistryError::field("name", message));
        }
        write.disown_deleted_scripts(name).await?;
        let token = Secret::new(format!("{TOKEN_PREFIX}{}", Secret::random().expose()));
        let expires_at_ms = now_ms().saturating_add(self.token_ttl_ms);
        let subject = Subject { name: name.to_owned(), role: role.into(), expires_at_ms };
        write.insert_subject(&subject, &Hash::of(token.expose().as_bytes())).await?;
        write.commit().await?;
        Ok((subject, token))
    }

    /// All subjects, sorted by name.
    pub(crate) async fn list_subjects(&self, caller: &Caller) -> Result<Vec<Subject>> {
        only_admins(caller)?;
        let mut subjects = self.store.read().subjects().await?;
        subjects.sort_by(|a, b| names::order(&a.name, &b.name));
        Ok(subjects)
    }

    /// Deletes a subject and revokes its token.
    pub(crate) async fn delete_subject(&self, caller: &Caller, name: &str) -> Result<()> {
        only_admins(caller)?;
        if *caller == Caller::Admin(name.to_owned()) {
            return Err(RegistryError::PermissionDenied("administrators do not delete themselves"));
        }
        let mut write = self.store.write_removal().await?;
        if !names::is_name(name) || !write.delete_subject(name).await? {
            return Err(RegistryError::SubjectNotFound(name.to_owned()));
        }
        write.commit().await?;
        Ok(())
    }

    /// The subject with this token. Fails if the token is unknown or has expired.
    pub(crate) async fn authenticate(&self, caller: &Caller, token: &str) -> Result<Subject> {
        caller.only_services()?;
        let subject = self.store.read().subject_of(&Hash::of(token.as_bytes())).await?;
        subject.filter(|subject| is_valid(subject, now_ms())).ok_or(RegistryError::Unauthenticated)
    }
}

/// Whether the subject's token has not expired at `now_ms`.
fn is_valid(subject: &Subject, now_ms: i64) -> bool {
    subject.expires_at_ms == 0 || now_ms < subject.expires_at_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_invalid_once_they_expire() {
        let subject = |expires_at_ms| Subject { expires_at_ms, ..Subject::default() };
        assert!(is_valid(&subject(1000), 999));
        assert!(!is_valid(&subject(1000), 1000));
        assert!(is_valid(&subject(0), i64::MAX), "a bootstrap token never expires");
    }
}
