//! What this worker has, how much of it is free, and what runs on it.

mod cgroup;
mod cpu;
mod gauges;
mod meter;

pub(crate) use self::gauges::LoadGauges;
pub(crate) use self::meter::LoadMeter;
