//! APP scripts.

use proto::registry::v1::change::Change;
use proto::registry::v1::{Script, ScriptDeleted};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, Set};

use crate::store::entity::script;
use crate::store::{Reader, Result, Write};

impl Reader<'_> {
    /// The script with this name.
    pub(crate) async fn script(&self, name: &str) -> Result<Option<Script>> {
        Ok(self.script_row(name, false).await?.map(to_script))
    }

    /// The owner of the deleted script with this name, if it was deleted while functions used it.
    pub(crate) async fn deleted_script_owner(&self, name: &str) -> Result<Option<String>> {
        Ok(self.script_row(name, true).await?.map(|row| row.owner))
    }

    /// All scripts, unordered.
    pub(crate) async fn scripts(&self) -> Result<Vec<Script>> {
        let rows = script::Entity::find().filter(script::Column::Deleted.eq(false)).all(&self.db).await?;
        Ok(rows.into_iter().map(to_script).collect())
    }

    /// Whether the subject with this name, which may have been deleted, owns a script.
    pub(crate) async fn owns_scripts(&self, owner: &str) -> Result<bool> {
        let rows = script::Entity::find().filter(script::Column::Deleted.eq(false));
        Ok(rows.filter(script::Column::Owner.eq(owner)).one(&self.db).await?.is_some())
    }

    async fn script_row(&self, name: &str, deleted: bool) -> Result<Option<script::Model>> {
        let row = script::Entity::find_by_id(name).filter(script::Column::Deleted.eq(deleted));
        Ok(row.one(&self.db).await?)
    }
}

impl Write {
    /// Inserts a script. Its name must be free; it replaces a deleted script.
    pub(crate) async fn insert_script(&mut self, script: &Script) -> Result<()> {
        script::Entity::delete_by_id(&script.name).exec(&self.transaction).await?;
        let row = script::ActiveModel {
            name: Set(script.name.clone()),
            content: Set(script.content.clone()),
            owner: Set(script.owner.clone()),
            deleted: Set(false),
        };
        row.insert(&self.transaction).await?;
        self.changed(Change::ScriptPut(script.clone()));
        Ok(())
    }

    /// Deletes a script. If its name is kept, only its owner may use it again.
    pub(crate) async fn delete_script(&mut self, name: &str, keep_name: bool) -> Result<()> {
        if keep_name {
            script::Entity::update_many()
                .col_expr(script::Column::Deleted, Expr::value(true))
                .col_expr(script::Column::Content, Expr::value(""))
                .filter(script::Column::Name.eq(name))
                .exec(&self.transaction)
                .await?;
        } else {
            script::Entity::delete_by_id(name).exec(&self.transaction).await?;
        }
        self.changed(Change::ScriptDeleted(ScriptDeleted { name: name.to_owned() }));
        Ok(())
    }

    /// Keeps the names of the deleted scripts of this subject for administrators.
    pub(crate) async fn disown_deleted_scripts(&mut self, owner: &str) -> Result<()> {
        script::Entity::update_many()
            .col_expr(script::Column::Owner, Expr::value(""))
            .filter(script::Column::Owner.eq(owner))
            .filter(script::Column::Deleted.eq(true))
            .exec(&self.transaction)
            .await?;
        Ok(())
    }
}

fn to_script(row: script::Model) -> Script {
    Script { name: row.name, content: row.content, owner: row.owner }
}
