//! The binaries of functions. Each is stored once and deleted when no function uses it.

use mesh::hash::Hash;
use proto::registry::v1::Code;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ActiveModelTrait as _, EntityTrait as _, QueryFilter as _, Set};

use crate::store::entity::{code, code_chunk, function};
use crate::store::{Reader, Result, Write};

/// Binaries are stored and sent in chunks of this size, so that readers need not hold them in memory.
pub(crate) const CODE_CHUNK_BYTES: usize = 256 << 10;

impl Reader<'_> {
    /// The number of chunks of the binary with this hash; `None` if it does not exist.
    pub(crate) async fn code_chunks(&self, hash: &Hash) -> Result<Option<u32>> {
        let row = code::Entity::find_by_id(hash.as_bytes().to_vec()).one(&self.db).await?;
        let chunks = |row: code::Model| row.size.cast_unsigned().div_ceil(CODE_CHUNK_BYTES as u64);
        Ok(row.map(|row| u32::try_from(chunks(row)).unwrap_or(u32::MAX)))
    }

    /// One chunk of the binary with this hash; `None` if it does not exist.
    pub(crate) async fn code_chunk(&self, hash: &Hash, position: u32) -> Result<Option<Vec<u8>>> {
        let key = (hash.as_bytes().to_vec(), position.cast_signed());
        let row = code_chunk::Entity::find_by_id(key).one(&self.db).await?;
        Ok(row.map(|row| row.bytes))
    }
}

impl Write {
    /// Stores a binary unless it already exists.
    pub(crate) async fn insert_code(&mut self, code: &Code, bytes: &[u8]) -> Result<()> {
        let hash = code.hash.to_vec();
        if code::Entity::find_by_id(hash.clone()).one(&self.transaction).await?.is_some() {
            return Ok(());
        }
        let row = code::ActiveModel {
            hash: Set(hash.clone()),
            size: Set(code.size.cast_signed()),
            kind: Set(code.kind),
        };
        row.insert(&self.transaction).await?;
        for (position, chunk) in (0..).zip(bytes.chunks(CODE_CHUNK_BYTES)) {
            let row = code_chunk::ActiveModel {
                hash: Set(hash.clone()),
                position: Set(position),
                bytes: Set(chunk.to_vec()),
            };
            code_chunk::Entity::insert(row).exec_without_returning(&self.transaction).await?;
        }
        Ok(())
    }

    /// Deletes the binary with this hash if no function uses it.
    pub(super) async fn delete_unused_code(&mut self, hash: &[u8]) -> Result<()> {
        let users = Query::select()
            .expr(Expr::val(1))
            .from(function::Entity)
            .and_where(Expr::col(function::Column::CodeHash).eq(hash.to_vec()))
            .take();
        code::Entity::delete_by_id(hash.to_vec())
            .filter(Expr::exists(users).not())
            .exec(&self.transaction)
            .await?;
        Ok(())
    }
}
