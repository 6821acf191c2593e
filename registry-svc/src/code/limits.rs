//! What a module may have. A few kilobytes can cost a compiler minutes and gigabytes: modules that would are refused
//! before any worker sees them. The limits have room for interpreters that are compiled to WebAssembly, such as those
//! of Python and Ruby, and for whole programs in Go.

use std::fmt;

use mesh::wasm::{MAX_INSTANCE_BYTES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// A limit, and what it limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) what: &'static str,
    pub(super) max: u64,
}

/// The limits of one function.
pub(super) mod of_function {
    use super::{Limit, limit};

    pub(crate) const BYTES: Limit = limit("bytes", 2 << 20);
    pub(crate) const LOCALS: Limit = limit("locals", 10_000);
    pub(crate) const BLOCKS: Limit = limit("blocks", 50_000);
    pub(crate) const LOOP_DEPTH: Limit = limit("loops inside each other", 200);
    pub(crate) const BR_TABLE_ENTRIES: Limit = limit("`br_table` entries", 100_000);
    pub(crate) const OPERANDS: Limit = limit("operands of calls and blocks", 100_000);
    pub(crate) const BLOCKS_TIMES_LOCALS: Limit = limit("blocks times locals", 10_000_000);
    pub(crate) const MERGED_VALUES: Limit =
        limit("locals times the places where control flow joins", 150_000);
    pub(crate) const COST: Limit = limit("units of estimated compilation cost", 20_000_000);
}

/// The limits of a module.
pub(super) mod of_module {
    use super::{Limit, MAX_INSTANCE_BYTES, MAX_TABLES, limit};

    pub(crate) const TYPES: Limit = limit("types", 100_000);
    pub(crate) const IMPORTS: Limit = limit("imports", 1_000);
    pub(crate) const EXPORTS: Limit = limit("exports", 100_000);
    pub(crate) const FUNCTIONS: Limit = limit("functions", 100_000);
    pub(crate) const ELEMENTS: Limit = limit("elements in segments", 500_000);
    pub(crate) const LOCALS: Limit = limit("locals in all functions", 1_000_000);
    pub(crate) const BR_TABLE_ENTRIES: Limit = limit("`br_table` entries in all functions", 1_000_000);
    pub(crate) const OPERANDS: Limit = limit("operands of calls and blocks in all functions", 5_000_000);
    pub(crate) const BLOCKS_TIMES_LOCALS: Limit = limit("blocks times locals in all functions", 200_000_000);
    pub(crate) const COST: Limit = limit("units of estimated compilation cost in all functions", 200_000_000);

    pub(crate) const TABLES: Limit = limit("tables", MAX_TABLES as u64);
    pub(crate) const INSTANCE_BYTES: Limit =
        limit("bytes of globals, tables and function references", MAX_INSTANCE_BYTES as u64);
}

/// The limit of each table.
pub(super) const TABLE_ELEMENTS: Limit = limit("elements", MAX_TABLE_ELEMENTS as u64);

const fn limit(what: &'static str, max: u64) -> Limit {
    Limit { what, max }
}

impl Limit {
    /// Refuses more than the limit.
    pub(super) fn check(self, place: Place, found: u64) -> Result<(), Exceeded> {
        if found > self.max { Err(Exceeded { limit: self, place, found }) } else { Ok(()) }
    }
}

/// A part of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Module,
    /// The function with this index; imported functions come first.
    Function(u32),
    /// The table with this index.
    Table(u32),
}

/// A limit that a module exceeds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    limit: Limit,
    place: Place,
    found: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Module => f.write_str("it has ")?,
            Place::Function(index) => write!(f, "function {index} has ")?,
            Place::Table(index) => write!(f, "table {index} has ")?,
        }
        write!(f, "{} {}; the limit is {}", self.found, self.limit.what, self.limit.max)
    }
}

#[cfg(test)]
mod tests;
