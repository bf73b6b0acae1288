//! A release's boot script for another patch of the same Erlang/OTP: `mix release` without ERTS names the exact
//! versions of the machine that it ran on, and a repository has a newer patch a week later.
//!
//! What changes is what `systools` would have written with the other patch at hand: the directories of the
//! applications, their specifications, and the modules that belong to them. Order, start types and everything that
//! the release brings stay.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::otp::{Difference, Otp};
use crate::beam::{self, Atom, BeamError, BootInstruction, BootScript, Term};
use crate::tree::{Tree, TreePath};

/// The largest specification that is read.
const MOST_BYTES: u64 = 16 << 20;

/// A boot script that can't be made for the Erlang/OTP at hand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// An application has no specification.
    #[error("{path} is not there")]
    Missing {
        /// Where it should be.
        path: TreePath,
    },
    /// It can't be read.
    #[error("{path} can't be read")]
    Io {
        /// The file in the image.
        path: TreePath,
        /// What is wrong.
        source: io::Error,
    },
    /// It can't be understood.
    #[error("{path} can't be understood")]
    Beam {
        /// The file in the image.
        path: TreePath,
        /// What is wrong.
        source: BeamError,
    },
}

/// An application in another version.
struct Other {
    wanted: String,
    there: String,
    properties: Term,
    modules: BTreeSet<Atom>,
}

/// The boot script `boot` for `otp`, which stands in `tree` and has the applications of `differences` in other
/// versions than the script names.
///
/// # Errors
/// When the specification of one of them is missing or wrong.
pub fn adapt(
    boot: &BootScript,
    tree: &Tree,
    otp: &Otp,
    differences: &[Difference],
) -> Result<BootScript, AdaptError> {
    let mut others: BTreeMap<&str, Other> = BTreeMap::new();
    for difference in differences {
        if let Some(there) = difference.there.last().filter(|_| difference.application != "erts") {
            others.insert(&difference.application, other(tree, otp, difference, there)?);
        }
    }
    let mut adapted = boot.clone();
    // Which modules went from an application, and which came to it.
    let mut gone: BTreeSet<Atom> = BTreeSet::new();
    let mut came: Vec<(BTreeSet<Atom>, Vec<Atom>)> = Vec::new();
    for application in boot.applications() {
        let Some(other) = others.get(application.name) else { continue };
        let before: BTreeSet<Atom> = application.modules().into_iter().map(Atom::from).collect();
        gone.extend(before.difference(&other.modules).cloned());
        let new = other.modules.difference(&before).cloned().collect();
        came.push((before, new));
    }
    let mut loaded = false;
    for instruction in &mut adapted.instructions {
        match instruction {
            BootInstruction::Path(paths) => {
                for path in paths {
                    redirect(path, &others);
                }
            }
            BootInstruction::KernelLoadCompleted => loaded = true,
            BootInstruction::PrimLoad(modules) => {
                modules.retain(|module| !gone.contains(module));
                // What is loaded before is the code server's own minimum, which no patch changes.
                if loaded {
                    for (before, new) in &mut came {
                        if modules.iter().any(|module| before.contains(module)) {
                            modules.append(new);
                        }
                    }
                }
            }
            BootInstruction::KernelProcess { arguments, .. } | BootInstruction::Apply { arguments, .. } => {
                if let Term::List(list, None) = arguments {
                    list.iter_mut().for_each(|term| respecify(term, &others));
                }
            }
            BootInstruction::PreLoaded(_) | BootInstruction::Progress(_) => {}
        }
    }
    Ok(adapted)
}

fn other(tree: &Tree, otp: &Otp, difference: &Difference, there: &str) -> Result<Other, AdaptError> {
    let name = &difference.application;
    let path = otp
        .prefix
        .join(format!("lib/{name}-{there}/ebin/{name}.app"))
        .map_err(|_| AdaptError::Missing { path: otp.prefix.clone() })?;
    let Some((_, content)) = tree.file(&path) else { return Err(AdaptError::Missing { path }) };
    let bytes = content.read(MOST_BYTES).map_err(|source| AdaptError::Io { path: path.clone(), source })?;
    let wrong = |source| AdaptError::Beam { path: path.clone(), source };
    let terms = beam::consult(&bytes).map_err(wrong)?;
    let properties = terms.first().and_then(|term| match term.tagged("application", 3) {
        Some([Term::Atom(found), properties]) if **found == **name => Some(properties.clone()),
        _ => None,
    });
    let Some(properties) = properties else {
        return Err(wrong(BeamError::Shape {
            expected: "{application, Name, Properties}",
            found: terms.first().map_or_else(|| "nothing".to_owned(), Term::excerpt),
        }));
    };
    let modules = properties.property("modules").and_then(Term::as_list).unwrap_or_default();
    let modules = modules.iter().filter_map(Term::as_atom).map(Atom::from).collect();
    Ok(Other { wanted: difference.wanted.clone(), there: there.to_owned(), properties, modules })
}

/// `$ROOT/lib/kernel-10.2/ebin` with the version that is there.
fn redirect(path: &mut String, others: &BTreeMap<&str, Other>) {
    let Some((name, version)) = super::otp::application_of(path) else { return };
    if let Some(other) = others.get(name).filter(|other| other.wanted == version) {
        let end = format!("/{name}-{version}/ebin");
        if let Some(start) = path.strip_suffix(&end) {
            *path = format!("{start}/{name}-{}/ebin", other.there);
        }
    }
}

fn respecify(term: &mut Term, others: &BTreeMap<&str, Other>) {
    let Term::Tuple(parts) = term else { return };
    if let [Term::Atom(tag), Term::Atom(name), properties] = parts.as_mut_slice()
        && &**tag == "application"
        && let Some(other) = others.get(&**name)
    {
        *properties = other.properties.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Metadata, Node, Origin};

    const SCRIPT: &str = r#"{script,{"hello","0.1.0"},[
        {path,["$ROOT/lib/kernel-10.2/ebin","$ROOT/lib/stdlib-6.2/ebin","$RELEASE_LIB/hello-0.1.0/ebin"]},
        {primLoad,[error_handler]},{kernel_load_completed},
        {path,["$ROOT/lib/kernel-10.2/ebin"]},{primLoad,[application,old]},{primLoad,[lists]},
        {kernelProcess,application_controller,{application_controller,start,
            [{application,kernel,[{vsn,"10.2"},{modules,[application,error_handler,old]}]}]}}]}."#;

    #[test]
    fn another_patch() {
        let boot = BootScript::parse_text(SCRIPT.as_bytes()).expect("a script");
        let prefix: TreePath = "usr/lib/erlang".parse().expect("good");
        let mut tree = Tree::new();
        let text =
            "{application,kernel,[{vsn,\"10.3\"},{modules,[application,error_handler,new]},{env,[{a,1}]}]}.";
        let node = Node::file(Content::from_bytes(text.as_bytes()), Metadata::FILE, Origin::skeleton());
        let path = prefix.join("lib/kernel-10.3/ebin/kernel.app").expect("good");
        tree.insert_with_parents(path.clone(), node);
        let emulator = prefix.join("erts-15.2.8/bin/beam.smp").expect("good");
        tree.insert_with_parents(
            emulator,
            Node::file(Content::from_bytes(*b""), Metadata::PROGRAM, Origin::skeleton()),
        );
        let otp = Otp::in_tree(&tree, &prefix).expect("an emulator is there");
        let differences = [
            Difference {
                application: "erts".to_owned(),
                wanted: "15.2.7".to_owned(),
                there: vec!["15.2.8".to_owned()],
            },
            Difference {
                application: "kernel".to_owned(),
                wanted: "10.2".to_owned(),
                there: vec!["10.3".to_owned()],
            },
        ];
        let adapted = adapt(&boot, &tree, &otp, &differences).expect("it is there");
        let paths = adapted.paths();
        assert!(paths.contains("$ROOT/lib/kernel-10.3/ebin") && paths.contains("$ROOT/lib/stdlib-6.2/ebin"));
        assert!(!paths.contains("$ROOT/lib/kernel-10.2/ebin"));
        assert_eq!(adapted.modules(), ["error_handler", "application", "new", "lists"]);
        let kernel = adapted.applications()[0];
        assert_eq!((kernel.version, kernel.modules()), ("10.3", vec!["application", "error_handler", "new"]));
        assert!(kernel.properties.property("env").is_some());

        for (content, expected) in [("{application,stdlib,[]}.", "understood"), ("{", "understood")] {
            let node =
                Node::file(Content::from_bytes(content.as_bytes()), Metadata::FILE, Origin::skeleton());
            tree.insert(path.clone(), node);
            let error = adapt(&boot, &tree, &otp, &differences).expect_err("it is wrong");
            assert!(error.to_string().contains(expected), "{error}");
        }
        tree.remove(&path);
        let error = adapt(&boot, &tree, &otp, &differences).expect_err("it is gone");
        assert_eq!(error.to_string(), "/usr/lib/erlang/lib/kernel-10.3/ebin/kernel.app is not there");
    }
}
