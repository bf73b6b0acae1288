//! The scripts of a `mix release`: `bin/NAME start`, which sources `env.sh` and runs
//! `releases/VERSION/elixir`, which runs `erl`.

use std::collections::BTreeMap;

use super::env_script::{self, EnvScript};
use super::{Command, Planner, RELEASE_ROOT, StartError, parse, profile, words};

/// Says whether and how the node is named; the settings decide that.
const DISTRIBUTION: &str = "RELEASE_DISTRIBUTION";

pub(super) fn command(planner: &mut Planner<'_>) -> Result<Command, StartError> {
    let root = format!("/{RELEASE_ROOT}");
    let directory = format!("{root}{}", planner.release.version_directory);
    let version =
        planner.release.version_directory.file_name().map(String::from_utf8_lossy).unwrap_or_default();
    let version = version.into_owned();
    let name = planner.release.name.clone();

    planner.env.insert("RELEASE_ROOT".to_owned(), root.clone());
    let release_name = planner.default("RELEASE_NAME", &name);
    planner.env.insert("RELEASE_VSN".to_owned(), version.clone());
    planner.env.insert("RELEASE_COMMAND".to_owned(), "start".to_owned());
    planner.default("RELEASE_PROG", &name);
    if planner.release.is_elixir() {
        planner.default("ELIXIR_ERL_OPTIONS", "+fnu");
    }
    let shell = env_script(planner, &directory)?;

    // What the script gives the variables that are not set when env.sh is done.
    let mut defaults = vec![
        ("RELEASE_MODE", profile::usual_mode(planner.run.profile).to_owned()),
        ("RELEASE_TMP", "/tmp".to_owned()),
        ("RELEASE_VM_ARGS", format!("{directory}/vm.args")),
        ("RELEASE_REMOTE_VM_ARGS", format!("{directory}/remote.vm.args")),
        ("RELEASE_BOOT_SCRIPT", "start".to_owned()),
        ("RELEASE_BOOT_SCRIPT_CLEAN", "start_clean".to_owned()),
    ];
    if let Some(cookie) = planner.read(&format!("{root}/releases/COOKIE"))? {
        // `$(cat …)` drops the line feeds at the end.
        let cookie = String::from_utf8_lossy(&cookie);
        defaults.push(("RELEASE_COOKIE", cookie.trim_end_matches('\n').to_owned()));
    }
    let set_before = planner.env.clone();
    for (variable, value) in &defaults {
        planner.default(variable, value);
    }
    let has_cookie = planner.env.get("RELEASE_COOKIE").is_some_and(|cookie| !cookie.is_empty());
    if !has_cookie && shell.is_none() {
        return Err(StartError::NoCookie);
    }
    distribution(planner, &release_name);
    let boot = planner.env.get("RELEASE_BOOT_SCRIPT").cloned().unwrap_or_default();
    planner.must_be_there(&format!("{directory}/{boot}.boot"), "it is the boot script")?;
    let sys_config = sys_config(planner, &directory, &release_name, &version)?;
    let order = flag_order(planner, &directory)?;
    let arguments = arguments(planner, &directory, &sys_config, order);

    let shell = if let Some(reason) = shell {
        // env.sh must find what the release's script would have shown it, and nothing more.
        planner.env = set_before;
        Some((shell_script(planner, &directory, &sys_config, &defaults, order), reason))
    } else {
        planner.env.insert("RELEASE_SYS_CONFIG".to_owned(), sys_config);
        None
    };
    Ok(Command { arguments, virtual_files: BTreeMap::new(), flags_from: "vm.args".to_owned(), shell })
}

/// Takes over what `env.sh` exports; says why it needs a shell, if it does.
fn env_script(planner: &mut Planner<'_>, version_directory: &str) -> Result<Option<String>, StartError> {
    let Some(script) = planner.read(&format!("{version_directory}/env.sh"))? else { return Ok(None) };
    match env_script::parse(&script) {
        EnvScript::Exports(exports) => {
            for (name, value) in exports {
                planner.set(&name, &value);
            }
            Ok(None)
        }
        EnvScript::Shell { line, text } => Ok(Some(format!("line {line} of env.sh, `{text}`"))),
    }
}

/// The settings say whether and how the node is named.
fn distribution(planner: &mut Planner<'_>, release_name: &str) {
    match &planner.run.distribution {
        Some(distribution) => {
            let kind = if distribution.long_names { "name" } else { "sname" };
            planner.env.insert(DISTRIBUTION.to_owned(), kind.to_owned());
            planner.env.insert("RELEASE_NODE".to_owned(), distribution.node.clone());
            if let Some(cookie) = &distribution.cookie {
                planner.env.insert("RELEASE_COOKIE".to_owned(), cookie.clone());
            }
        }
        None => {
            let asked = planner.env.insert(DISTRIBUTION.to_owned(), "none".to_owned());
            if let Some(asked) = asked.filter(|asked| asked != "none") {
                planner.note(format!(
                    "RELEASE_DISTRIBUTION={} is not followed: distribution is off unless [run] distribution asks \
                     for it",
                    asked.escape_debug()
                ));
            }
            planner.default("RELEASE_NODE", release_name);
        }
    }
}

/// Where the configuration is, without `.config`. One that `config/runtime.exs` completes at boot is copied to
/// `RELEASE_TMP` first, because it is written to.
fn sys_config(
    planner: &mut Planner<'_>,
    version_directory: &str,
    release_name: &str,
    version: &str,
) -> Result<String, StartError> {
    let source = match planner.env.get("RELEASE_SYS_CONFIG").filter(|path| !path.is_empty()) {
        Some(path) => path.clone(),
        None => format!("{version_directory}/sys"),
    };
    let file = format!("{source}.config");
    let Some(text) = planner.read(&file)? else {
        return Err(StartError::NotThere {
            path: parse(&file),
            needed_for: "it is the release's configuration",
        });
    };
    if !text.windows(RUNTIME_CONFIG.len()).any(|window| window == RUNTIME_CONFIG) {
        return Ok(source);
    }
    let temporary = planner.env.get("RELEASE_TMP").cloned().unwrap_or_default();
    let target = format!("{}/{release_name}-{version}.runtime", temporary.trim_end_matches('/'));
    planner.plan.copies.push((parse(&file), parse(&format!("{target}.config"))));
    Ok(target)
}

/// What the scripts look for in `sys.config`.
const RUNTIME_CONFIG: &[u8] = b"RUNTIME_CONFIG=true";

/// Where `releases/VERSION/elixir` has `-noshell`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlagOrder {
    /// Behind `$ELIXIR_ERL_OPTIONS`: Elixir 1.14.
    OptionsFirst,
    /// Before it: Elixir 1.18.
    NoshellFirst,
}

fn flag_order(planner: &Planner<'_>, version_directory: &str) -> Result<FlagOrder, StartError> {
    let script = planner.read(&format!("{version_directory}/elixir"))?.unwrap_or_default();
    let older = b"-noshell -s elixir start_cli";
    let is_older = script.windows(older.len()).any(|window| window == older);
    Ok(if is_older { FlagOrder::OptionsFirst } else { FlagOrder::NoshellFirst })
}

/// What `releases/VERSION/elixir` passes to `erl`.
fn arguments(
    planner: &Planner<'_>,
    version_directory: &str,
    sys_config: &str,
    order: FlagOrder,
) -> Vec<Vec<u8>> {
    let variable = |name: &str| planner.env.get(name).map(String::as_str).unwrap_or_default();
    // These two are not quoted in the script: the shell splits them at white space.
    let split = |name: &str| words(&variable(name).split_whitespace().collect::<Vec<_>>());
    let options = split("ELIXIR_ERL_OPTIONS");
    let noshell = words(&["-noshell"]);
    [
        match order {
            FlagOrder::OptionsFirst => [options, noshell],
            FlagOrder::NoshellFirst => [noshell, options],
        }
        .concat(),
        words(&["-s", "elixir", "start_cli", "-mode"]),
        split("RELEASE_MODE"),
        words(&["-setcookie", variable("RELEASE_COOKIE")]),
        planner.name_flags(),
        words(&["-config", sys_config]),
        words(&["-boot", &format!("{version_directory}/{}", variable("RELEASE_BOOT_SCRIPT"))]),
        words(&["-boot_var", "RELEASE_LIB", &format!("/{RELEASE_ROOT}/lib")]),
        words(&["-args_file", variable("RELEASE_VM_ARGS")]),
        words(&["-extra", "--no-halt"]),
    ]
    .concat()
}

/// The same for a shell: sources `env.sh`, gives the variables their defaults as the release's script does, and
/// runs `erlexec`, which does the rest itself.
fn shell_script(
    planner: &Planner<'_>,
    version_directory: &str,
    sys_config: &str,
    defaults: &[(&str, String)],
    order: FlagOrder,
) -> String {
    let mut script = format!("set -e\n. {version_directory}/env.sh\n");
    let mut default = |name: &str, value: &str| {
        script.push_str(&format!("[ -n \"${name}\" ] || {name}={}\nexport {name}\n", quoted(value)));
    };
    for (name, value) in defaults {
        default(name, value);
    }
    default("RELEASE_SYS_CONFIG", sys_config);
    let name_flag = match &planner.run.distribution {
        Some(distribution) => {
            let kind = if distribution.long_names { "name" } else { "sname" };
            let node = quoted(&distribution.node);
            script.push_str(&format!("export RELEASE_DISTRIBUTION={kind} RELEASE_NODE={node}\n"));
            if let Some(cookie) = &distribution.cookie {
                script.push_str(&format!("export RELEASE_COOKIE={}\n", quoted(cookie)));
            }
            format!("-{kind} \"$RELEASE_NODE\" ")
        }
        None => {
            script.push_str(
                "export RELEASE_DISTRIBUTION=none RELEASE_NODE=\"${RELEASE_NODE:-$RELEASE_NAME}\"\n",
            );
            String::new()
        }
    };
    let start = match order {
        FlagOrder::OptionsFirst => "$ELIXIR_ERL_OPTIONS -noshell",
        FlagOrder::NoshellFirst => "-noshell $ELIXIR_ERL_OPTIONS",
    };
    script.push_str(&format!(
        "exec \"$BINDIR/erlexec\" {start} -s elixir start_cli -mode $RELEASE_MODE -setcookie \"$RELEASE_COOKIE\" \
         {name_flag}-config \"$RELEASE_SYS_CONFIG\" -boot \"{version_directory}/$RELEASE_BOOT_SCRIPT\" \
         -boot_var RELEASE_LIB /{RELEASE_ROOT}/lib -args_file \"$RELEASE_VM_ARGS\" -extra --no-halt"
    ));
    script
}

/// A word in single quotes for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
