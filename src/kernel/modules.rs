//! The lists that `depmod` writes beside a kernel's modules, and what must be loaded in which order.
//!
//! Formats: modules.dep(5), kmod's `modprobe.d(5)` for `softdep` lines; `modules.builtin` is one path a line.
//! Names are as the kernel has them: the file's without `.ko…`, with `_` for `-`.

use std::collections::{BTreeMap, BTreeSet};

use super::KernelError;

/// What a kernel's modules are and what they need.
#[derive(Debug, Clone, Default)]
pub struct ModuleIndex {
    modules: BTreeMap<String, Module>,
    built_in: BTreeSet<String>,
    /// Modules that should be loaded before one, if they are there.
    before: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone)]
struct Module {
    path: String,
    needs: Vec<String>,
}

/// The name of the module in a file: `kernel/drivers/char/hw_random/virtio-rng.ko.gz` is `virtio_rng`.
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let end = file.find(".ko").unwrap_or(file.len());
    file[..end].replace('-', "_")
}

/// The paths of `wanted` and everything that they need, as they stand in a `modules.dep`, in load order.
/// [`ModuleIndex`] knows built-in modules and soft dependencies too.
///
/// # Errors
/// As [`ModuleIndex::parse`] and [`ModuleIndex::select`].
pub fn select_modules(modules_dep: &str, wanted: &[&str]) -> Result<Vec<String>, KernelError> {
    ModuleIndex::parse(modules_dep, "", "")?.select(wanted)
}

impl ModuleIndex {
    /// Takes the contents of `modules.dep`, `modules.builtin` and `modules.softdep`; the last two may be empty.
    ///
    /// # Errors
    /// [`KernelError::BadIndex`] for a line of `modules.dep` without a colon or with a path that leads out.
    pub fn parse(dep: &str, builtin: &str, softdep: &str) -> Result<Self, KernelError> {
        let mut index = Self::default();
        for (number, line) in dep.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |expected| KernelError::BadIndex {
                list: "modules.dep",
                line: number + 1,
                expected,
                found: line.chars().take(80).collect(),
            };
            let (path, needs) = line.split_once(':').ok_or_else(|| bad("`PATH: PATH…`"))?;
            if path.starts_with('/') || path.split('/').any(|component| component == "..") {
                return Err(bad("a path below the directory of the modules"));
            }
            if !path.contains(".ko") {
                return Err(bad("a module's path, with `.ko` in it"));
            }
            let needs = needs.split_ascii_whitespace().map(module_name).collect();
            index.modules.insert(module_name(path), Module { path: path.to_owned(), needs });
        }
        index.built_in =
            builtin.lines().map(str::trim).filter(|line| !line.is_empty()).map(module_name).collect();
        for line in softdep.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some("softdep"), Some(name)) = (words.next(), words.next()) else { continue };
            let mut is_before = false;
            for word in words {
                match word {
                    "pre:" => is_before = true,
                    "post:" => is_before = false,
                    other if is_before => {
                        index.before.entry(module_name(name)).or_default().push(module_name(other));
                    }
                    _ => {}
                }
            }
        }
        Ok(index)
    }

    /// Whether the kernel has this module, as a file or built in.
    pub fn contains(&self, name: &str) -> bool {
        let name = module_name(name);
        self.modules.contains_key(&name) || self.built_in.contains(&name)
    }

    /// The paths of `wanted` and everything that they need (and of what should come before, by `modules.softdep`,
    /// where it is there), each once, a module after what it needs. Built-in modules have no path.
    ///
    /// # Errors
    /// [`KernelError::UnknownModule`], [`KernelError::UnknownDependency`], [`KernelError::Cycle`].
    pub fn select(&self, wanted: &[&str]) -> Result<Vec<String>, KernelError> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            Open,
            Done,
        }
        enum Step<'a> {
            Enter(&'a str),
            Leave(&'a str, &'a Module),
        }
        let mut states: BTreeMap<&str, State> = BTreeMap::new();
        let mut order = Vec::new();
        for name in wanted {
            let asked = module_name(name);
            let Some((name, _)) = self.modules.get_key_value(&asked) else {
                if self.built_in.contains(&asked) {
                    continue;
                }
                return Err(KernelError::UnknownModule { name: (*name).to_owned() });
            };
            let mut steps = vec![Step::Enter(name)];
            while let Some(step) = steps.pop() {
                let name = match step {
                    Step::Leave(name, module) => {
                        states.insert(name, State::Done);
                        order.push(module.path.clone());
                        continue;
                    }
                    Step::Enter(name) => name,
                };
                let Some(module) = self.modules.get(name) else { continue };
                match states.insert(name, State::Open) {
                    None => {}
                    Some(State::Done) => {
                        states.insert(name, State::Done);
                        continue;
                    }
                    Some(State::Open) => return Err(KernelError::Cycle { module: name.to_owned() }),
                }
                steps.push(Step::Leave(name, module));
                // The list is in reverse load order; what is pushed last comes off first.
                for dependency in &module.needs {
                    if !self.contains(dependency) {
                        return Err(KernelError::UnknownDependency {
                            module: name.to_owned(),
                            dependency: dependency.clone(),
                        });
                    }
                    steps.push(Step::Enter(dependency));
                }
                for before in self.before.get(name).into_iter().flatten().rev() {
                    // A soft dependency that is already on its way is no circle.
                    if !states.contains_key(before.as_str()) {
                        steps.push(Step::Enter(before));
                    }
                }
            }
        }
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/net/virtio_net.ko.gz: kernel/drivers/net/net_failover.ko.gz kernel/net/core/failover.ko.gz
kernel/drivers/net/net_failover.ko.gz: kernel/net/core/failover.ko.gz
kernel/net/core/failover.ko.gz:
kernel/drivers/char/hw_random/virtio-rng.ko.gz:
kernel/fs/btrfs/btrfs.ko.gz: kernel/lib/raid6.ko.gz
kernel/lib/raid6.ko.gz:
kernel/crypto/blake2b.ko.gz:
";

    fn index(softdep: &str) -> ModuleIndex {
        ModuleIndex::parse(DEP, "kernel/drivers/virtio/virtio_pci.ko\n", softdep).expect("good lists")
    }

    #[test]
    fn names_are_the_kernels() {
        for (path, name) in [
            ("kernel/a/virtio-rng.ko.gz", "virtio_rng"),
            ("x.ko", "x"),
            ("x.ko.xz", "x"),
            ("virtio-net", "virtio_net"),
        ] {
            assert_eq!(module_name(path), name);
        }
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let chosen = select_modules(DEP, &["virtio-net", "virtio_rng", "failover"]).expect("all there");
        assert_eq!(
            chosen,
            [
                "kernel/net/core/failover.ko.gz",
                "kernel/drivers/net/net_failover.ko.gz",
                "kernel/drivers/net/virtio_net.ko.gz",
                "kernel/drivers/char/hw_random/virtio-rng.ko.gz",
            ]
        );
    }

    #[test]
    fn built_in_modules_are_fine_and_unknown_ones_are_not() {
        assert!(index("").select(&["virtio_pci"]).expect("built in").is_empty());
        assert!(index("").contains("virtio-pci"));
        let error = index("").select(&["virtio_nte"]).expect_err("no such module");
        assert_eq!(
            error.to_string(),
            "the kernel has no module \"virtio_nte\", neither as a file nor built in"
        );
    }

    #[test]
    fn soft_dependencies_come_before_when_they_are_there() {
        let softdep = "softdep btrfs pre: blake2b xxhash64 post: failover\nsoftdep btrfs virtio_rng\n# x\n";
        assert_eq!(
            index(softdep).select(&["btrfs"]).expect("all there"),
            ["kernel/crypto/blake2b.ko.gz", "kernel/lib/raid6.ko.gz", "kernel/fs/btrfs/btrfs.ko.gz"]
        );
        // Two that want each other softly are no error.
        let softdep = "softdep btrfs pre: blake2b\nsoftdep blake2b pre: btrfs\n";
        assert_eq!(index(softdep).select(&["btrfs"]).expect("all there").len(), 3);
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        for (dep, expected) in [
            ("a.ko: b.ko\nb.ko: a.ko\n", "the module \"a\" needs itself, by way of others"),
            ("a.ko: c.ko\n", "the module \"a\" needs \"c\", which modules.dep doesn't list"),
            ("\na.ko\n", "line 2 of modules.dep is \"a.ko\", where `PATH: PATH…` is expected"),
            (
                "...gz:\n",
                "line 1 of modules.dep is \"...gz:\", where a module's path, with `.ko` in it is expected",
            ),
            (
                "../a.ko:\n",
                "line 1 of modules.dep is \"../a.ko:\", where a path below the directory of the modules is expected",
            ),
        ] {
            assert_eq!(select_modules(dep, &["a"]).expect_err(dep).to_string(), expected);
        }
    }

    #[test]
    fn long_chains_do_not_overflow_the_stack() {
        let chain: String = (0..100_000).map(|i| format!("m{i}.ko: m{}.ko\n", i + 1)).collect();
        let chosen = select_modules(&(chain + "m100000.ko:\n"), &["m0"]).expect("a chain");
        assert_eq!((chosen.len(), chosen[0].as_str()), (100_001, "m100000.ko"));
    }
}
