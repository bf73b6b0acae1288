//! `apk`'s command line on the solver, and its answers in apk's words, so that both can be compared.

use leanfs::apk::{Checksum, Constraint, Dependency, Index, IndexEntry, InstalledDatabase, Operator};
use leanfs::resolve::{
    ChangeKind, Fix, Mask, Plan, Prefer, Problem, Repositories, ResolveError, System, Upgrade, Want,
};

/// A repository of a case.
#[derive(Debug)]
pub(super) struct Repository {
    pub(super) tag: Option<String>,
    pub(super) index: Index,
}

/// Everything that `apk` would find on disk.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) repositories: Vec<Repository>,
    pub(super) installed: InstalledDatabase,
    pub(super) world: Vec<Dependency>,
    pub(super) cache: Option<Index>,
    pub(super) arch: String,
    /// The package that `apk` itself belongs to.
    pub(super) owner_of_apk: Option<String>,
}

/// What a command line says.
#[derive(Debug, Default)]
struct Arguments {
    verb: String,
    names: Vec<String>,
    verbose: bool,
    offline: bool,
    without_broken: bool,
    virtual_package: Option<String>,
    prefer: Prefer,
    upgrade: Upgrade,
    ignore: bool,
    fix: Fix,
    with_dependents: bool,
    preupgrade_only: bool,
    preupgrade_depends: Vec<String>,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Self {
        let mut parsed = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut next = || words.next().expect("an argument").clone();
            match word.as_str() {
                "-v" => parsed.verbose = true,
                "--no-network" => parsed.offline = true,
                "--force-broken-world" => parsed.without_broken = true,
                "--root-tmpfs=yes" => {}
                "-t" => parsed.virtual_package = Some(next()),
                "--upgrade" if parsed.verb == "fix" => parsed.fix.upgrade = true,
                "--upgrade" => parsed.prefer = Prefer::Upgrade,
                "--latest" if parsed.verb == "upgrade" => parsed.upgrade.latest = true,
                "--latest" => parsed.prefer = Prefer::Latest,
                "-a" | "--available" => parsed.upgrade.available = true,
                "--prune" => parsed.upgrade.prune = true,
                "--ignore" => parsed.ignore = true,
                "--depends" => parsed.fix.depends = true,
                "-r" => parsed.with_dependents = true,
                "--preupgrade-only" | "--self-upgrade-only" => parsed.preupgrade_only = true,
                "--preupgrade-depends" => {
                    let wanted = next();
                    parsed.preupgrade_depends.push(wanted);
                }
                option if option.starts_with('-') => panic!("the option {option} is not known"),
                verb if parsed.verb.is_empty() => verb.clone_into(&mut parsed.verb),
                name => parsed.names.push(name.to_owned()),
            }
        }
        parsed
    }
}

/// What `apk` would say, line by line.
pub(super) fn run(world: &World, arguments: &[String]) -> String {
    match answer(world, &Arguments::parse(arguments)) {
        Ok(text) => text,
        Err(text) => text,
    }
}

fn answer(world: &World, arguments: &Arguments) -> Result<String, String> {
    let mut repositories = Repositories::default().for_arch(&world.arch);
    for repository in &world.repositories {
        let tag = repository.tag.as_deref();
        repositories = if arguments.offline {
            repositories.with_unreachable(tag, &repository.index)
        } else {
            repositories.with(tag, &repository.index)
        };
    }
    let mut system = System::new(repositories).with_installed(&world.installed).with_world(&world.world);
    if let Some(cache) = &world.cache {
        system = system.with_cache(cache);
    }
    if arguments.without_broken {
        system = system.without_broken();
    }

    let mut before = String::new();
    let plan = match arguments.verb.as_str() {
        "add" => match &arguments.virtual_package {
            Some(specifier) => {
                let (wanted, entry) = virtual_package(specifier, &arguments.names)?;
                // apk's own cases read both of its outputs in turn.
                if arguments.names.is_empty() {
                    before = "WARNING: creating empty virtual package\n".to_owned();
                }
                system.with_virtual(&[entry]).add(&[wanted], arguments.prefer)
            }
            None => system.add(&dependencies(&arguments.names)?, arguments.prefer),
        },
        "del" => system.remove(&arguments.names, arguments.with_dependents),
        "fix" => system.fix(&Fix { only: arguments.names.clone(), ..arguments.fix.clone() }),
        "upgrade" if arguments.preupgrade_only => {
            let owner = world.owner_of_apk.iter().map(String::as_str);
            let given = arguments.preupgrade_depends.iter().map(String::as_str);
            let first: Vec<Dependency> =
                owner.chain(given).map(|text| text.parse().expect("a dependency")).collect();
            match system.preupgrade(&first, &arguments.upgrade) {
                Ok(Some(plan)) => {
                    before = "Preupgrading:\n".to_owned();
                    Ok(plan)
                }
                Ok(None) => return Ok(String::new()),
                Err(ResolveError::Unsatisfiable { .. }) => {
                    return Ok(
                        "WARNING: Failed to perform initial preupgrade, continuing with a full upgrade."
                            .to_owned(),
                    );
                }
                Err(error) => Err(error),
            }
        }
        "upgrade" => {
            let names = arguments.names.clone();
            let (only, ignore) = if arguments.ignore { (vec![], names) } else { (names, vec![]) };
            system.upgrade(&Upgrade { only, ignore, ..arguments.upgrade.clone() })
        }
        verb => panic!("the command {verb} is not known"),
    };
    match plan {
        Ok(plan) => {
            // Every broken package counts, whether it is mended or not.
            let errors = world.installed.packages.iter().filter(|package| package.flags.is_broken()).count();
            Ok(before + &as_apk_plans(&plan, arguments.verbose, errors))
        }
        Err(error) => Err(before + &as_apk_refuses(&arguments.verb, &error)),
    }
}

fn dependencies(texts: &[String]) -> Result<Vec<Dependency>, String> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            format!("ERROR: '{text}' is not a valid world dependency, format is name(@tag)([<>~=]version)")
        })
    };
    texts.iter().map(parse).collect()
}

/// The package that is a name for others.
fn virtual_package(specifier: &str, names: &[String]) -> Result<(Dependency, IndexEntry), String> {
    let bad = || format!("ERROR: {specifier}: bad package specifier");
    let mut wanted: Dependency = specifier.parse().map_err(|_| bad())?;
    let version = match &wanted.constraint {
        Some(Constraint { operator: Operator::Equal, version }) => version.clone(),
        Some(_) => return Err(bad()),
        // apk takes the time.
        None => "20190603.131426".to_owned(),
    };
    wanted.constraint = Some(Constraint { operator: Operator::Equal, version: version.clone() });
    let mut entry = IndexEntry::new(&wanted.name, version, Checksum::sha1_of(specifier.as_bytes()));
    for name in names {
        let wanted = Dependency::parse(name).map_err(|_| {
            format!("ERROR: '{name}' is not a valid package dependency, format is name([<>~=]version)")
        })?;
        match entry.depends.iter_mut().find(|known| known.name == wanted.name) {
            Some(known) => *known = wanted,
            None => entry.depends.push(wanted),
        }
    }
    Ok((wanted, entry))
}

fn as_apk_plans(plan: &Plan, verbose: bool, errors: usize) -> String {
    let mut text = String::new();
    if !plan.kept.is_empty() {
        text += "World updated, but the following packages are not removed due to:\n";
        for kept in &plan.kept {
            text += &format!("{}: {}\n", kept.name, kept.because.join(" "));
        }
    }
    if verbose && !plan.unavailable.is_empty() {
        text += "NOTE: Consider running apk upgrade with --prune and/or --available.\n";
        text += "The following packages are no longer available from a repository:\n";
        text += &format!("{}\n", plan.unavailable.join(" "));
    }
    let total = plan.changes.len();
    for (place, change) in plan.changes.iter().enumerate() {
        let skipped = change.kind == ChangeKind::Reinstall && !change.at_hand;
        let skipped = if skipped { "[APK unavailable, skipped] " } else { "" };
        text += &format!("({}/{total}) {skipped}{change}\n", place + 1);
    }
    let bytes: u64 = plan.packages.iter().map(|package| package.entry.installed_size).sum();
    let packages = plan.packages.len();
    text + &if verbose {
        format!("OK: {packages} packages, 0 dirs, 0 files, {bytes} B")
    } else {
        match errors {
            0 => format!("OK: {bytes} B in {packages} packages"),
            1 => format!("1 error; {bytes} B in {packages} packages"),
            _ => format!("{errors} errors; {bytes} B in {packages} packages"),
        }
    }
}

fn as_apk_refuses(verb: &str, error: &ResolveError) -> String {
    match error {
        ResolveError::Unsatisfiable { problems } => {
            // apk does not know what is wrong then.
            if problems.iter().all(|problem| matches!(problem, Problem::DeadEnd { .. })) {
                return "ERROR: unable to select packages:\nHuh? Error reporter did not find the broken constraints."
                    .to_owned();
            }
            problems.iter().fold("ERROR: unable to select packages:".to_owned(), |text, problem| {
                format!("{text}\n{}", as_apk_explains(problem))
            })
        }
        ResolveError::UnknownNames { names } => {
            let lines = names.iter().map(|unknown| match verb {
                "del" => format!("ERROR: No such package: {}\n", unknown.name),
                _ => format!("ERROR: Package '{}' not found\n", unknown.name),
            });
            lines.collect()
        }
        ResolveError::UnknownTags { wanted, .. } => {
            let warn = |wanted: &String| {
                let name = wanted.trim_start_matches('!').split(['<', '>', '=', '~']).next();
                let name = name.unwrap_or_default();
                format!("WARNING: The repository tag for world dependency '{name}' does not exist\n")
            };
            let warnings: String = wanted.iter().map(warn).collect();
            let what = if verb == "upgrade" { "continuing with upgrade" } else { "committing changes" };
            warnings + &format!("ERROR: Not {what} due to missing repository tags.")
        }
        other => other.to_string(),
    }
}

/// A problem in apk's words.
fn as_apk_explains(problem: &Problem) -> String {
    let list = |label: &str, items: Vec<String>| match items.as_slice() {
        [] => String::new(),
        items => format!(" {label}: {}", items.join(" ")),
    };
    let wants = |wants: &[Want]| -> Vec<String> {
        wants
            .iter()
            .map(|want| {
                // apk writes the tag after the version.
                let end = want.dependency.find(['<', '>', '=', '~']).unwrap_or(want.dependency.len());
                let (name, bound) = want.dependency.split_at(end);
                let dependency = match name.split_once('@') {
                    Some((name, tag)) => format!("{name}{bound}@{tag}"),
                    None => want.dependency.clone(),
                };
                format!("{}[{dependency}]", want.package.as_deref().unwrap_or("world"))
            })
            .collect()
    };
    match problem {
        Problem::NotFound { name, wanted_by, .. } => {
            format!("{name} (no such package):{}", list("required by", wants(wanted_by)))
        }
        Problem::MustChoose { name, providers, wanted_by } => format!(
            "{name} (virtual): note: please select one of the 'provided by' packages explicitly{}{}",
            list("provided by", providers.clone()),
            list("required by", wants(wanted_by))
        ),
        Problem::Package { package, unusable, masked_in, clashes, breaks, satisfies, .. } => {
            let clashes = clashes.iter().map(|clash| match &clash.provides {
                Some(name) => format!("{}[{name}]", clash.package),
                None => clash.package.clone(),
            });
            let unusable = unusable.as_ref().map(|reason| {
                let arch = reason.strip_prefix("it is for \"").and_then(|rest| rest.split_once('"'));
                arch.map_or(" error: uninstallable".to_owned(), |(arch, _)| {
                    format!(" error: uninstallable arch: {arch}")
                })
            });
            let masks = masked_in.iter().map(|mask| match mask {
                Mask::Tag(tag) => format!("@{tag}"),
                Mask::Offline => "--no-network".to_owned(),
                other => other.to_string(),
            });
            format!(
                "{package}:{}{}{}{}{}",
                unusable.unwrap_or_default(),
                list("masked in", masks.collect()),
                list("conflicts", clashes.collect()),
                list("breaks", wants(breaks)),
                list("satisfies", wants(satisfies))
            )
        }
        other => other.to_string(),
    }
}

/// White space apart, which depends on the width of apk's terminal; without the warning about the index as a
/// whole.
pub(super) fn normalised(text: &str) -> String {
    let lines = text.lines().filter(|line| {
        !line.starts_with("WARNING: The indexes contain broken")
            && !line.starts_with("WARNING: This apk-tools is OLD")
    });
    // Numbers are padded: `( 1/10)`.
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ").replace("( ", "(")
}
