//! The workers and the load, from files that people wrote or other commands printed.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, IgnoredAny, IntoDeserializer as _};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::place::Place;
use super::units::{Bytes, Kilobytes, Time};

/// A worker as the mesh is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Worker {
    pub name: String,
    /// In bytes. 0: unknown.
    pub memory_total: u64,
    /// In bytes, when nothing runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_available: Option<u64>,
}

/// An invocation as the mesh is told of it, with what the mesh need not know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Invocation {
    pub at_ns: u64,
    pub tag: String,
    /// 0: the default.
    pub capacity_kb: u64,
    /// `None`: it does not end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// What ran, if anybody said it.
    #[serde(skip)]
    pub function: String,
    /// Where it really ran, if anybody said it.
    #[serde(skip)]
    pub recorded: Option<Place>,
}

/// Reads the workers. Those that take nothing new are left out.
pub fn workers(file: &Path) -> anyhow::Result<Vec<Worker>> {
    let entries: Entries<WorkerEntry> = read(file)?;
    Ok(entries.0.into_iter().filter(|entry| !entry.draining).map(Worker::from).collect())
}

/// Reads the load. What was recorded begins at 0.
pub fn load(file: &Path) -> anyhow::Result<Vec<Invocation>> {
    let entries: Entries<LoadEntry> = read(file)?;
    let is_recorded = |entry: &LoadEntry| entry.invocation.is_some();
    let recorded = entries.0.iter().any(is_recorded);
    let mut load = Vec::with_capacity(entries.0.len());
    for (index, entry) in entries.0.into_iter().enumerate() {
        let place = || format!("{}: entry {}", file.display(), index + 1);
        load.push(entry.invocation().with_context(place)?);
    }
    if recorded {
        let first = load.iter().map(|invocation| invocation.at_ns).min().unwrap_or_default();
        load.iter_mut().for_each(|invocation| invocation.at_ns -= first);
    }
    Ok(load)
}

fn read<T: DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("cannot understand {}", file.display()))
}

fn parse<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    // A long load is usually JSON, and then quickly read.
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    // The file is the user's own: however long, it is read.
    let options = serde_saphyr::options! { budget: None };
    let read = serde_saphyr::from_str_with_options(text, options);
    read.map_err(|error| anyhow!("{}", error.to_string().trim_start_matches("error: ")))
}

/// A list, by itself or in an envelope.
struct Entries<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list, by itself or as `data`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "data" | "workers" | "load" | "decisions" => found = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        found.ok_or_else(|| A::Error::custom("expected a list, by itself or as `data`"))
    }
}

/// A worker as people or `fl workers` write it.
#[derive(DeriveDeserialize)]
struct WorkerEntry {
    name: String,
    memory: Option<Memory>,
    memory_total: Option<Bytes>,
    memory_available: Option<Bytes>,
    #[serde(default)]
    draining: bool,
}

impl From<WorkerEntry> for Worker {
    fn from(entry: WorkerEntry) -> Self {
        let Memory { total, available } = entry.memory.unwrap_or_default();
        let bytes = |Bytes(bytes)| bytes;
        Self {
            name: entry.name,
            memory_total: entry.memory_total.or(total).map_or(0, bytes),
            memory_available: entry.memory_available.or(available).map(bytes),
        }
    }
}

/// A size, or `{total, available}`.
#[derive(Default)]
struct Memory {
    total: Option<Bytes>,
    available: Option<Bytes>,
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemoryVisitor)
    }
}

struct MemoryVisitor;

impl MemoryVisitor {
    fn total<E: Error>(deserializer: impl Deserializer<'static, Error = E>) -> Result<Memory, E> {
        Ok(Memory { total: Some(Bytes::deserialize(deserializer)?), available: None })
    }
}

impl<'de> Visitor<'de> for MemoryVisitor {
    type Value = Memory;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a size such as 512MiB, or {total, available}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Memory, E> {
        Self::total(text.to_owned().into_deserializer())
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Memory, E> {
        Self::total(bytes.into_deserializer())
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<Memory, E> {
        Self::total(bytes.into_deserializer())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Memory, A::Error> {
        #[derive(DeriveDeserialize)]
        struct Parts {
            total: Option<Bytes>,
            available: Option<Bytes>,
        }
        let Parts { total, available } = Parts::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Memory { total, available })
    }
}

/// An invocation as people or `fl script decisions` write it.
#[derive(DeriveDeserialize)]
struct LoadEntry {
    at: Option<Time>,
    at_ns: Option<u64>,
    tag: Option<String>,
    capacity: Option<Kilobytes>,
    capacity_kb: Option<u64>,
    duration: Option<Time>,
    duration_ns: Option<u64>,
    module: Option<String>,
    function: Option<String>,
    worker: Option<String>,
    refusal: Option<String>,
    invocation: Option<Timed>,
}

/// What was placed by a decision.
#[derive(DeriveDeserialize)]
struct Timed {
    at_ns: u64,
    #[serde(default)]
    tag: String,
    #[serde(default)]
    capacity_kb: u64,
    duration_ns: Option<u64>,
}

impl LoadEntry {
    fn invocation(self) -> anyhow::Result<Invocation> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let function = match (given(self.module), given(self.function)) {
            (Some(module), Some(function)) => format!("{module}/{function}"),
            (_, function) => function.unwrap_or_default(),
        };
        let recorded = match (given(self.worker), given(self.refusal)) {
            (Some(worker), _) => Some(Place::On(worker)),
            (None, Some(refusal)) => Some(Place::Refused(refusal)),
            (None, None) => None,
        };
        if let Some(Timed { at_ns, tag, capacity_kb, mut duration_ns }) = self.invocation {
            if let Some(Place::Refused(_)) = recorded {
                // How long it would have run nobody knows.
                duration_ns = duration_ns.or(Some(0));
            }
            return Ok(Invocation { at_ns, tag, capacity_kb, duration_ns, function, recorded });
        }
        let nanos = |time: Option<Time>| time.map(|Time(nanos)| nanos);
        let at_ns = one_of(("at", nanos(self.at)), ("at_ns", self.at_ns))?;
        let kilobytes = self.capacity.map(|Kilobytes(kb)| kb);
        Ok(Invocation {
            at_ns: at_ns.ok_or_else(|| anyhow!("expected `at`, such as 1.5s, or `at_ns`"))?,
            tag: self.tag.unwrap_or_default(),
            capacity_kb: one_of(("capacity", kilobytes), ("capacity_kb", self.capacity_kb))?
                .unwrap_or_default(),
            duration_ns: one_of(("duration", nanos(self.duration)), ("duration_ns", self.duration_ns))?,
            function,
            recorded,
        })
    }
}

/// What is given under either of two names.
fn one_of(one: (&str, Option<u64>), other: (&str, Option<u64>)) -> anyhow::Result<Option<u64>> {
    match (one.1, other.1) {
        (Some(_), Some(_)) => bail!("expected `{}` or `{}`, not both", one.0, other.0),
        (one, other) => Ok(one.or(other)),
    }
}

#[cfg(test)]
mod tests;
