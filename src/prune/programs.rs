//! Programs and scripts of Erlang, Elixir and the release that nobody starts: PID 1 starts the emulator itself, and
//! does what the scripts would do.

use super::{PruneInput, Rule, application_of};
use crate::recipe::PruneLevel;
use crate::tree::{Node, NodeKind, TreePath};

/// What the emulator starts by itself: ports, and name look-ups, of which there is one at the start where the host's
/// name has no dot (as in a container): without the program the emulator ends then.
const STARTED_BY_EMULATOR: [&[u8]; 2] = [b"erl_child_setup", b"inet_gethost"];

pub(super) fn unused(path: &TreePath, node: &Node, input: &PruneInput<'_>) -> Option<(Rule, String)> {
    if matches!(node.kind, NodeKind::Directory) || input.programs.contains(path) {
        return None;
    }
    let goes = |reason: &str| Some((Rule::Program, reason.to_owned()));
    if let Some(name) = of_emulator(path, input) {
        if STARTED_BY_EMULATOR.contains(&name) || name.starts_with(b"beam.") && starts(name, input) {
            return None;
        }
        if name == b"heart" && input.arguments.iter().any(|argument| argument == b"-heart") {
            return None;
        }
        return goes("no part of a running release starts it");
    }
    if input.level < PruneLevel::Chunks || input.shell {
        return None;
    }
    if is_script(path, input) {
        return goes("PID 1 does what this script would do");
    }
    None
}

/// The name of a file in `erts-VERSION/bin`, or in `bin` of an OTP installation that is not the release.
fn of_emulator<'a>(path: &'a TreePath, input: &PruneInput<'_>) -> Option<&'a [u8]> {
    [input.otp_root, input.release_root].into_iter().find_map(|root| {
        let below = path.strip_prefix(root)?;
        let (directory, name) = below.split_at(below.iter().rposition(|&byte| byte == b'/')?);
        let name = &name[1..];
        let of_erts = directory.starts_with(b"erts-") && directory.ends_with(b"/bin");
        let of_otp = directory == b"bin" && root != input.release_root;
        // Boot scripts stand there too.
        let is_boot = name.ends_with(b".boot") && mentions(path, input);
        ((of_erts || of_otp) && !is_boot).then_some(name)
    })
}

/// Whether the flags name a boot script.
fn mentions(path: &TreePath, input: &PruneInput<'_>) -> bool {
    let bytes = path.as_bytes();
    let stem = bytes.strip_suffix(b".boot").unwrap_or(bytes);
    path == input.boot_path
        || input.arguments.iter().any(|argument| {
            let argument = argument.strip_prefix(b"/").unwrap_or(argument);
            argument == stem || argument == bytes
        })
}

/// The emulator that is started: a debug build beside it is not.
fn starts(name: &[u8], input: &PruneInput<'_>) -> bool {
    input.programs.iter().any(|program| program.file_name() == Some(name))
}

/// `bin/NAME`, and in `releases/VERSION` what scripts read and run.
fn is_script(path: &TreePath, input: &PruneInput<'_>) -> bool {
    const OF_VERSION: [&[u8]; 7] =
        [b"elixir", b"iex", b"env.sh", b"env.bat", b"elixir.bat", b"iex.bat", b"remote.vm.args"];
    let Some(below) = path.strip_prefix(input.release_root) else { return false };
    if application_of(path, input.release_root).is_some() {
        return false;
    }
    if below.starts_with(b"bin/") {
        return true;
    }
    let Some(name) = path.strip_prefix(input.version_directory) else { return false };
    OF_VERSION.contains(&name)
        || name == b"vm.args"
        || name.ends_with(b".script")
        || name.ends_with(b".boot") && !mentions(path, input)
}
