//! A release without scripts of its own is started as OTP's `start_erl` does it: with its boot script and its
//! `sys.config`; and with `-noshell`, because nobody sits at the console.

use std::collections::BTreeMap;

use super::{Command, Planner, words};

pub(super) fn command(planner: &mut Planner<'_>) -> Command {
    let mut arguments = words(&["-noshell"]);
    arguments.extend(planner.name_flags());
    arguments.extend(planner.cookie_flags());
    arguments.extend(words(&["-boot", &planner.version_path(&planner.release.boot_name)]));
    let there = |name: &str| planner.tree.file(&super::parse(&planner.version_path(name))).is_some();
    if there("sys.config") {
        arguments.extend(words(&["-config", &planner.version_path("sys")]));
    }
    if there("vm.args") {
        arguments.extend(words(&["-args_file", &planner.version_path("vm.args")]));
    }
    planner.set("RELDIR", &format!("/{}/releases", super::RELEASE_ROOT));
    Command { arguments, virtual_files: BTreeMap::new(), flags_from: "vm.args".to_owned(), shell: None }
}
