//! APP scripts.

use proto::registry::v1::change::Change;
use proto::registry::v1::{Script, ScriptDeleted};
use sea_orm::{ActiveModelTrait as _, EntityTrait as _, Set};

use crate::store::entity::script;
use crate::store::{Reader, Result, Write};

impl Reader<'_> {
    /// The script with this name.
    pub(crate) async fn script(&self, name: &str) -> Result<Option<Script>> {
        let row = script::Entity::find_by_id(name).one(&self.db).await?;
        Ok(row.map(to_script))
    }

    /// All scripts, unordered.
    pub(crate) async fn scripts(&self) -> Result<Vec<Script>> {
        let rows = script::Entity::find().all(&self.db).await?;
        Ok(rows.into_iter().map(to_script).collect())
    }
}

impl Write {
    /// Inserts a script. Its name must be free.
    pub(crate) async fn insert_script(&mut self, script: &Script) -> Result<()> {
        let row =
            script::ActiveModel { name: Set(script.name.clone()), content: Set(script.content.clone()) };
        row.insert(&self.transaction).await?;
        self.changed(Change::ScriptPut(script.clone()));
        Ok(())
    }

    /// Deletes a script. Returns `false` if it does not exist.
    pub(crate) async fn delete_script(&mut self, name: &str) -> Result<bool> {
        let deleted = script::Entity::delete_by_id(name).exec(&self.transaction).await?.rows_affected > 0;
        if deleted {
            self.changed(Change::ScriptDeleted(ScriptDeleted { name: name.to_owned() }));
        }
        Ok(deleted)
    }
}

fn to_script(row: script::Model) -> Script {
    Script { name: row.name, content: row.content }
}
