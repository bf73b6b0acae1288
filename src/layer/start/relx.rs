//! relx's script, `bin/NAME foreground`, in its forms since 2016: with `ERTS_LIB_DIR` or `SYSTEM_LIB_DIR` as
//! the boot script's variable, extended or not.

use std::collections::BTreeMap;

use super::{Command, Planner, RELEASE_ROOT, StartError, parse, profile, variables, words};

pub(super) fn command(planner: &mut Planner<'_>) -> Result<Command, StartError> {
    let root = format!("/{RELEASE_ROOT}");
    let program = format!("{root}/bin/{}", planner.release.name);
    let script = planner.read(&program)?.unwrap_or_default();
    let script = String::from_utf8_lossy(&script);
    let extended = script.contains("foreground");
    let variable = if script.contains("-boot_var ERTS_LIB_DIR") { "ERTS_LIB_DIR" } else { "SYSTEM_LIB_DIR" };
    let library = format!("{}/lib", planner.otp.prefix);

    let version =
        planner.release.version_directory.file_name().map(String::from_utf8_lossy).unwrap_or_default();
    let (name, version) = (planner.release.name.clone(), version.into_owned());
    for (variable, value) in [("REL_NAME", &name), ("RELEASE_NAME", &name), ("RELEASE_VSN", &version)] {
        planner.set(variable, value);
    }
    if extended {
        planner.set("RELEASE_PROG", &program);
        planner.set("ESCRIPT_NAME", &program);
        // What the script makes of its own path: everything behind the first slash.
        planner.set("PROGNAME", program.trim_start_matches('/'));
    }

    let mut virtual_files = BTreeMap::new();
    let vm_args = configuration(planner, "vm.args")?;
    let sys_config = configuration(planner, "sys.config")?;
    let mode = planner.env.get("CODE_LOADING_MODE").filter(|mode| !mode.is_empty()).cloned();
    let boot = planner.version_path(&planner.release.boot_name);
    let boot_words = words(&["-boot", &boot]);
    let variable_words = words(&["-boot_var", variable, &library]);
    let config_words = match &sys_config {
        Some((path, _)) => words(&["-config", path]),
        None => Vec::new(),
    };
    let args_words = match &vm_args {
        Some((path, text)) => {
            virtual_files.insert(path.clone().into_bytes(), text.clone());
            words(&["-args_file", path])
        }
        None => Vec::new(),
    };
    let own = [planner.name_flags(), planner.cookie_flags()].concat();
    let arguments = if extended {
        [
            words(&["-noinput", "+Bd"]),
            own,
            boot_words,
            words(&["-mode", mode.as_deref().unwrap_or(profile::usual_mode(planner.run.profile))]),
            variable_words,
            config_words,
            args_words,
            words(&["--", "foreground"]),
        ]
        .concat()
    } else {
        [words(&["-noshell"]), own, config_words, args_words, variable_words, boot_words].concat()
    };
    if let Some((path, text)) = sys_config
        && planner.read(&path)?.as_deref() != Some(text.as_slice())
    {
        planner.plan.files.push((parse(&path), text));
    }
    let hooks = script.lines().find_map(|line| line.strip_prefix("PRE_START_HOOKS=\"")).unwrap_or("\"");
    if hooks.trim() != "\"" {
        planner.note("relx's hooks (pre_start) are shell scripts, and are not run");
    }
    Ok(Command { arguments, virtual_files, flags_from: "vm.args".to_owned(), shell: None })
}

/// The path and the text of `vm.args` or `sys.config` after relx's script has dealt with its forms: `.src` has
/// variables that are replaced, `.orig` is what was there before an earlier replacement.
fn configuration(planner: &mut Planner<'_>, name: &str) -> Result<Option<(String, Vec<u8>)>, StartError> {
    let own_path = match name {
        "vm.args" => "VMARGS_PATH",
        _ => "RELX_CONFIG_PATH",
    };
    let path = match planner.env.get(own_path).filter(|path| !path.is_empty()) {
        Some(path) => path.clone(),
        None => {
            let at_root = format!("/{RELEASE_ROOT}/{name}");
            if planner.tree.file(&parse(&at_root)).is_some() { at_root } else { planner.version_path(name) }
        }
    };
    let text = if let Some(source) = planner.read(&format!("{path}.src"))? {
        let replaced = variables::replace(&source, &planner.env);
        if !replaced.named.is_empty() {
            let named: Vec<String> =
                replaced.named.iter().map(|name| name.escape_debug().to_string()).collect();
            planner.note(format!(
                "the variables of {name}.src ({}) got their values now, from [run] env, and keep them at boot",
                named.join(", ")
            ));
        }
        if !replaced.unset.is_empty() {
            let unset: Vec<String> =
                replaced.unset.iter().map(|name| name.escape_debug().to_string()).collect();
            planner.note(format!("{name}.src: {} has no value and became nothing", unset.join(", ")));
        }
        Some(replaced.text)
    } else {
        let original = planner.read(&format!("{path}.orig"))?;
        let text = match original {
            Some(original) => Some(original),
            None => planner.read(&path)?,
        };
        if planner.env.get("RELX_REPLACE_OS_VARS").is_some_and(|value| !value.is_empty()) {
            text.map(|text| variables::replace(&text, &planner.env).text)
        } else {
            text
        }
    };
    Ok(text.map(|text| (path, text)))
}
