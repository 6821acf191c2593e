//! The limits of this process' cgroups, from the files of version 2 or version 1.
//!
//! A limit applies to everything below it, so each level counts, from the process' own up to the one that is
//! mounted here. `sysinfo` reads memory limits, too, but its free memory leaves out the page cache, which the
//! kernel reclaims on demand: a worker that has read its files would seem full. And it does not read CPU
//! quotas.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    /// What is free, and what the kernel reclaims on demand.
    pub(crate) available: u64,
    /// What nothing uses.
    pub(crate) free: u64,
}

/// The CPU time of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CpuQuota {
    /// The quota, in CPUs.
    pub(crate) cpus: f64,
    /// What its processes have used so far.
    pub(crate) used: Duration,
}

/// Where the cgroups of a process are.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    memory: Option<Group>,
    cpu: Option<Group>,
    /// Of version 1, where CPU time is accounted.
    accounting: Option<Group>,
}

/// The cgroup of a process for one controller.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    /// Its folder, and those above it.
    levels: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Memory {
    /// The smaller one of each value.
    pub(crate) fn min(self, other: Self) -> Self {
        Self {
            total: self.total.min(other.total),
            available: self.available.min(other.available),
            free: self.free.min(other.free),
        }
    }
}

impl Cgroups {
    /// Those of this process.
    pub(crate) fn own() -> Self {
        Self::of(Path::new("/proc/self"))
    }

    /// Those of the process with this folder in `/proc`; none if there is no such folder.
    fn of(process: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(process.join(name)).unwrap_or_default();
        let (groups, mounts) = (read("cgroup"), read("mountinfo"));
        let find = |controller| Group::find(controller, &groups, &mounts);
        Self { memory: find("memory"), cpu: find("cpu"), accounting: find("cpuacct") }
    }

    /// The memory that they allow this process; `None` without a limit. It may be more than the machine
    /// has.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let group = self.memory.as_ref()?;
        group.levels.iter().filter_map(|level| memory_at(group.version, level)).reduce(Memory::min)
    }

    /// The smallest of their CPU quotas.
    pub(crate) fn cpu_quota(&self) -> Option<CpuQuota> {
        let group = self.cpu.as_ref()?;
        let quotas = group.levels.iter().enumerate().filter_map(|(height, level)| {
            let cpus = cpus_at(group.version, level)?;
            let used = match group.version {
                Version::Two => Duration::from_micros(entry(&level.join("cpu.stat"), "usage_usec")?),
                Version::One => {
                    let accounting = self.accounting.as_ref()?.levels.get(height)?;
                    Duration::from_nanos(number(&accounting.join("cpuacct.usage"))?)
                }
            };
            Some(CpuQuota { cpus, used })
        });
        quotas.min_by(|one, other| one.cpus.total_cmp(&other.cpus))
    }
}

impl Group {
    /// Finds it in the files `cgroup` and `mountinfo` of a process. A controller is in a hierarchy of version 1,
    /// or else in that of version 2.
    fn find(controller: &str, groups: &str, mounts: &str) -> Option<Self> {
        let has = |list: &str| list.split(',').any(|name| name == controller);
        let group = |wanted: &dyn Fn(&str) -> bool| {
            groups.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                fields.next().filter(|controllers| wanted(controllers))?;
                fields.next()
            })
        };
        let (version, path) = match group(&has) {
            Some(path) => (Version::One, path),
            None => (Version::Two, group(&str::is_empty)?),
        };
        let levels = mounts.lines().find_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mut filesystem = filesystem.split(' ');
            let is_it = match (version, filesystem.next()?, filesystem.nth(1)?) {
                (Version::Two, "cgroup2", _) => true,
                (Version::One, "cgroup", options) => has(options),
                _ => false,
            };
            let mut mount = mount.split(' ').skip(3);
            let (root, point) = (mount.next()?, mount.next()?);
            is_it.then(|| levels(Path::new(path), Path::new(root), Path::new(point)))?
        })?;
        Some(Self { version, levels })
    }
}

/// The folder of the cgroup `path` and those above, where the cgroup `root` is mounted at `point`.
fn levels(path: &Path, root: &Path, point: &Path) -> Option<Vec<PathBuf>> {
    let below = path.strip_prefix(root).ok()?;
    // A process that was moved out of its namespace has a path that leads out of the mount.
    if !below.components().all(|component| matches!(component, Component::Normal(_))) {
        return None;
    }
    let folder = point.join(below);
    let height = below.components().count() + 1;
    Some(folder.ancestors().take(height).map(Path::to_owned).collect())
}

fn memory_at(version: Version, level: &Path) -> Option<Memory> {
    let (limit, usage, reclaimable) = match version {
        Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        Version::Two => ("memory.max", "memory.current", "inactive_file"),
    };
    // No limit is a word in version 2, and a number larger than any machine in version 1.
    let total = number(&level.join(limit))?;
    let used = number(&level.join(usage)).unwrap_or(0);
    let given_back = entry(&level.join("memory.stat"), reclaimable).unwrap_or(0);
    Some(Memory {
        total,
        available: total.saturating_sub(used.saturating_sub(given_back)),
        free: total.saturating_sub(used),
    })
}

fn cpus_at(version: Version, level: &Path) -> Option<f64> {
    let (quota, period): (u64, u64) = match version {
        // -1 for none.
        Version::One => (number(&level.join("cpu.cfs_quota_us"))?, number(&level.join("cpu.cfs_period_us"))?),
        // `max 100000` for none.
        Version::Two => {
            let text = std::fs::read_to_string(level.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
    };
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// The number that a file holds.
fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number beside this key in a file of keys and numbers.
fn entry(file: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// Files of a kernel: path and content. `MOUNT` stands for where they are.
    fn cgroups(files: &[(&str, &str)]) -> (Cgroups, TempDir) {
        let kernel = tempfile::tempdir().expect("a folder");
        for (path, content) in files {
            let path = kernel.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            let content = content.replace("MOUNT", &kernel.path().display().to_string());
            std::fs::write(path, content).expect("a file");
        }
        (Cgroups::of(&kernel.path().join("proc")), kernel)
    }

    const V2_MOUNT: (&str, &str) =
        ("proc/mountinfo", "25 1 0:22 / MOUNT/fs rw,nosuid - cgroup2 cgroup2 rw\n");

    #[test]
    fn the_least_of_all_levels_counts() {
        let (cgroups, _kernel) = cgroups(&[
            ("proc/cgroup", "0::/pod/container\n"),
            V2_MOUNT,
            ("fs/cgroup.controllers", "cpu memory\n"),
            ("fs/pod/memory.max", "2000\n"),
            ("fs/pod/memory.current", "1900\n"),
            ("fs/pod/memory.stat", "anon 1000\ninactive_file 600\nactive_file 300\n"),
            ("fs/pod/cpu.max", "50000 100000\n"),
            ("fs/pod/cpu.stat", "usage_usec 3000000\nuser_usec 1\n"),
            ("fs/pod/container/memory.max", "1000\n"),
            ("fs/pod/container/memory.current", "100\n"),
            ("fs/pod/container/memory.stat", "inactive_file_not 7\ninactive_file 30\n"),
            ("fs/pod/container/cpu.max", "max 100000\n"),
            ("fs/pod/container/cpu.stat", "usage_usec 2000000\n"),
        ]);
        assert_eq!(cgroups.memory(), Some(Memory { total: 1000, available: 700, free: 100 }));
        assert_eq!(cgroups.cpu_quota(), Some(CpuQuota { cpus: 0.5, used: Duration::from_secs(3) }));
    }

    #[test]
    fn no_limit_is_none() {
        let unlimited = [
            ("proc/cgroup", "0::/user.slice\n"),
            V2_MOUNT,
            ("fs/user.slice/memory.max", "max\n"),
            ("fs/user.slice/memory.current", "100\n"),
            ("fs/user.slice/cpu.max", "max 100000\n"),
        ];
        let broken = [("proc/cgroup", "0::/a\nnonsense\n"), V2_MOUNT, ("fs/a/memory.max", "-7\n")];
        let moved_out = [("proc/cgroup", "0::/../a\n"), V2_MOUNT, ("a/memory.max", "7\n")];
        let not_mounted = [("proc/cgroup", "0::/a\n"), ("fs/a/memory.max", "7\n")];
        for files in [&unlimited[..], &broken, &moved_out, &not_mounted, &[]] {
            let (cgroups, _kernel) = cgroups(files);
            assert_eq!((cgroups.memory(), cgroups.cpu_quota()), (None, None), "{files:?}");
        }
    }

    /// The cgroup is mounted as if it were the root, as in a container.
    #[test]
    fn in_a_container() {
        for (group, root) in [("0::/\n", "/"), ("0::/docker/1\n", "/docker/1")] {
            let mount = format!("25 1 0:22 {root} MOUNT/fs ro - cgroup2 cgroup rw,nsdelegate\n");
            let (cgroups, _kernel) = cgroups(&[
                ("proc/cgroup", group),
                ("proc/mountinfo", &mount),
                ("fs/memory.max", "1000\n"),
                ("fs/memory.current", "400\n"),
                ("fs/cpu.max", "150000 100000\n"),
                ("fs/cpu.stat", "usage_usec 7\n"),
            ]);
            assert_eq!(cgroups.memory(), Some(Memory { total: 1000, available: 600, free: 600 }), "{group}");
            assert_eq!(cgroups.cpu_quota().map(|quota| quota.cpus), Some(1.5), "{group}");
        }
    }

    #[test]
    fn version_1_has_a_hierarchy_for_each_controller() {
        let unlimited = u64::MAX >> 1 & !4095;
        let (cgroups, _kernel) = cgroups(&[
            ("proc/cgroup", "5:memory:/m\n4:cpuacct:/c\n3:cpu:/c\n2:cpuset:/\n1:name=systemd:/\n0::/\n"),
            (
                "proc/mountinfo",
                "31 1 0:28 / MOUNT/set rw - cgroup cgroup rw,cpuset\n\
                 32 1 0:29 / MOUNT/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                 33 1 0:30 / MOUNT/acct rw - cgroup cgroup rw,cpuacct\n\
                 34 1 0:32 / MOUNT/memory rw - cgroup cgroup rw,memory\n\
                 35 1 0:38 / MOUNT/unified rw - cgroup2 cgroup2 rw\n",
            ),
            ("memory/memory.limit_in_bytes", &unlimited.to_string()),
            ("memory/memory.usage_in_bytes", "5000\n"),
            ("memory/m/memory.limit_in_bytes", "1000\n"),
            ("memory/m/memory.usage_in_bytes", "900\n"),
            ("memory/m/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("cpu/c/cpu.cfs_quota_us", "200000\n"),
            ("cpu/c/cpu.cfs_period_us", "100000\n"),
            ("acct/c/cpuacct.usage", "1500000000\n"),
        ]);
        assert_eq!(cgroups.memory(), Some(Memory { total: 1000, available: 600, free: 100 }));
        let used = Duration::from_millis(1500);
        assert_eq!(cgroups.cpu_quota(), Some(CpuQuota { cpus: 2.0, used }));
    }
}
