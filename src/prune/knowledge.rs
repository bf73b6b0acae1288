//! What is known of Erlang's and Elixir's own code that its functions don't show.
//!
//! Their code calls much that never happens in an image: the shell's help renders documentation, a warning of the
//! compiler shows a line of source, `file:open` can read compressed files. The tables here say which modules are
//! reached from the platform's own code only under a condition. They were made for OTP 25 to 28 and Elixir 1.14 to 1.19;
//! a name that a version doesn't have does nothing there.
//!
//! Nothing here concerns what the release's own code calls or names, what stands in its configuration, or what is
//! to be kept: that is always followed, and so are the calls between the modules of one table.

/// When modules of the platform may be reached from the rest of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// When something compiles or evaluates source code: when one of [`DOORS`] is reached.
    Compiling,
    /// When a shell is started on the console.
    Shell,
    /// When Erlang's distribution is on.
    Distribution,
    /// When code that is reached, outside of the applications of [`CORE`], or the configuration or the flags have one
    /// of these words as an atom.
    Words(&'static [&'static str]),
}

/// Modules by which code that is there as a term becomes text.
const SHOWS_SOURCE: &[&str] = &["Elixir.Macro", "Elixir.Code", "Elixir.EEx"];

/// The applications whose words are no reason for a condition to hold: they implement what the words ask for.
const CORE: &[&str] = &["kernel", "stdlib", "sasl", "compiler", "elixir", "logger", "iex", "eex", "mix"];

/// Whether the atoms in an application's code are only what it can be asked for.
pub(super) fn is_core(application: &str) -> bool {
    CORE.contains(&application)
}

/// The modules that have a condition, by name; a `*` at the end stands for anything.
pub(super) const CONDITIONS: &[(&str, Condition)] = &[
    // Compilers, and what shows and takes source code apart.
    ("compile", Condition::Compiling),
    ("erl_compile", Condition::Compiling),
    ("erl_compile_server", Condition::Compiling),
    ("erl_expand_records", Condition::Compiling),
    ("erl_pp", Condition::Compiling),
    ("erl_abstract_code", Condition::Compiling),
    ("qlc", Condition::Compiling),
    ("qlc_pt", Condition::Compiling),
    ("ms_transform", Condition::Compiling),
    ("otp_internal", Condition::Compiling),
    ("erl_eval", Condition::Compiling),
    ("erl_lint", Condition::Compiling),
    ("elixir_bitstring", Condition::Compiling),
    ("elixir_clauses", Condition::Compiling),
    ("elixir_compiler", Condition::Compiling),
    ("elixir_def", Condition::Compiling),
    ("elixir_dispatch", Condition::Compiling),
    ("elixir_env", Condition::Compiling),
    ("elixir_erl", Condition::Compiling),
    ("elixir_erl_clauses", Condition::Compiling),
    ("elixir_erl_compiler", Condition::Compiling),
    ("elixir_erl_for", Condition::Compiling),
    ("elixir_erl_try", Condition::Compiling),
    ("elixir_erl_var", Condition::Compiling),
    ("elixir_expand", Condition::Compiling),
    ("elixir_fn", Condition::Compiling),
    ("elixir_import", Condition::Compiling),
    ("elixir_interpolation", Condition::Compiling),
    ("elixir_lexical", Condition::Compiling),
    ("elixir_locals", Condition::Compiling),
    ("elixir_map", Condition::Compiling),
    ("elixir_module", Condition::Compiling),
    ("elixir_overridable", Condition::Compiling),
    ("elixir_parser", Condition::Compiling),
    ("elixir_quote", Condition::Compiling),
    ("elixir_tokenizer", Condition::Compiling),
    ("Elixir.Code.Formatter", Condition::Words(SHOWS_SOURCE)),
    ("Elixir.Code.Fragment", Condition::Compiling),
    ("Elixir.Code.Normalizer", Condition::Words(SHOWS_SOURCE)),
    ("Elixir.Code.Typespec", Condition::Compiling),
    ("Elixir.Module.*", Condition::Compiling),
    ("Elixir.Macro.Env", Condition::Compiling),
    ("Elixir.Kernel.Typespec", Condition::Compiling),
    ("Elixir.Kernel.ParallelCompiler", Condition::Compiling),
    ("Elixir.Kernel.LexicalTracker", Condition::Compiling),
    ("Elixir.Kernel.Utils", Condition::Compiling),
    ("Elixir.Kernel.SpecialForms", Condition::Compiling),
    ("Elixir.String.Tokenizer.Security", Condition::Compiling),
    ("Elixir.EEx*", Condition::Compiling),
    // Debugging and measuring tools.
    ("Elixir.Inspect.Macro.Env", Condition::Compiling),
    ("sys_coverage", Condition::Compiling),
    ("beam_doc", Condition::Compiling),
    ("trace", Condition::Words(&["trace", "dbg", "tracer"])),
    // The shell.
    ("shell", Condition::Shell),
    ("shell_default", Condition::Shell),
    ("shell_docs*", Condition::Shell),
    ("c", Condition::Shell),
    ("edlin_expand", Condition::Shell),
    ("edlin_context", Condition::Shell),
    ("edlin_type_suggestion", Condition::Shell),
    ("group_history", Condition::Shell),
    ("Elixir.IEx*", Condition::Shell),
    ("iex", Condition::Shell),
    // Distribution.
    ("auth", Condition::Distribution),
    ("dist_ac", Condition::Distribution),
    ("dist_util", Condition::Distribution),
    ("erl_epmd", Condition::Distribution),
    ("net_adm", Condition::Distribution),
    ("global_search", Condition::Distribution),
    ("inet_tcp_dist", Condition::Distribution),
    ("inet6_tcp_dist", Condition::Distribution),
    ("erl_boot_server", Condition::Words(&["start_boot_server", "boot_server_slaves"])),
    // Ways to open files and sockets that are asked for by a word.
    ("raw_file_io_delayed", Condition::Words(&["delayed_write"])),
    ("raw_file_io_compressed", Condition::Words(&["compressed", "compressed_one"])),
    ("raw_file_io_inflate", Condition::Words(&["compressed", "compressed_one"])),
    ("raw_file_io_deflate", Condition::Words(&["compressed", "compressed_one"])),
    ("ram_file", Condition::Words(&["ram"])),
    ("inet6_tcp", Condition::Words(&["inet6", "inet6_tcp"])),
    ("inet6_udp", Condition::Words(&["inet6", "inet6_udp"])),
    ("inet6_sctp", Condition::Words(&["inet6", "inet6_sctp"])),
    ("inet_sctp", Condition::Words(&["sctp", "inet_sctp", "gen_sctp"])),
    ("local_tcp", Condition::Words(&["local"])),
    ("local_udp", Condition::Words(&["local"])),
    ("gen_tcp_socket", Condition::Words(&["inet_backend"])),
    ("gen_udp_socket", Condition::Words(&["inet_backend"])),
    ("socket", Condition::Words(&["inet_backend"])),
    // Handlers of logger and of error_logger.
    ("logger_disk_log_h", Condition::Words(&["logger_disk_log_h"])),
    ("win32reg", Condition::Words(&[])),
    ("log_mf_h", Condition::Words(&["log_mf_h", "error_logger_mf_dir"])),
    // Names that are looked up without the C library.
    ("inet_res", Condition::Words(&["inet_res", "inetrc", "dns"])),
    ("inet_dns*", Condition::Words(&["inet_res", "inetrc", "dns"])),
    ("pg", Condition::Words(&["pg", "start_pg"])),
];

/// Functions of the platform through which source code comes to be compiled or evaluated.
const DOORS: &[(&str, &[&str])] = &[
    (
        "Elixir.Code",
        &[
            "eval_*",
            "compile_*",
            "require_file",
            "string_to_quoted*",
            "format_*",
            "fetch_docs",
            "container_cursor_to_quoted",
            "env_for_eval",
        ],
    ),
    ("Elixir.Module", &["create", "eval_quoted"]),
    ("elixir_compiler", &["*"]),
    ("elixir", &["eval*", "string_to_*", "tokens_to_quoted", "quoted_to_erl"]),
    ("file", &["eval", "path_eval", "script", "path_script"]),
];

/// Functions of the platform of which the calls happen only under a condition: their module, the function, and when.
const FUNCTIONS: &[(&str, &str, Condition)] = &[
    // `elixir -e`, `--rpc-eval` …: a release is started with `--no-halt` alone.
    ("Elixir.Kernel.CLI", "process_command", Condition::Words(&[])),
    // Debug information that is encrypted, or there at all: an image has none.
    ("beam_lib", "crypto_key_fun_from_file*", Condition::Words(&[])),
    ("Elixir.Exception", "blame_guard", Condition::Words(&[])),
    ("Elixir.Exception", "blame_arg", Condition::Words(&[])),
    ("Elixir.FunctionClauseError", "blame_match", Condition::Words(&[])),
    ("Elixir.Exception", "rewrite_guard", Condition::Words(&[])),
    // The default of `dbg/2`.
    ("Elixir.Macro", "dbg", Condition::Words(&[])),
    ("Elixir.Exception", "erl_to_ex", Condition::Words(&[])),
    // A warning for who compiles: a field of a map that was called as a function, or the other way round.
    ("Elixir.IO", "warn_once", Condition::Words(&[])),
    // Both are started at boot, and do the most of what they can only when they are asked.
    ("peer", "*", Condition::Words(&["peer"])),
    ("release_handler", "handle_call", Condition::Words(&["release_handler"])),
    // Several modules at once, or none: `code:atomic_load`.
    ("code", "finish_loading", Condition::Words(&["code"])),
    // The node's part of distribution.
    ("net_kernel", "init", Condition::Distribution),
    ("net_kernel", "handle_*", Condition::Distribution),
    ("global", "handle_*", Condition::Distribution),
    ("global_group", "handle_*", Condition::Distribution),
];

/// When the calls of a function of the platform happen; `None` is always.
pub(super) fn function_condition(module: &str, function: &str) -> Option<Condition> {
    let found = FUNCTIONS.iter().find(|(name, pattern, _)| *name == module && fits(pattern, function))?;
    Some(found.2)
}

/// Functions of the platform that need every module that they name, though they only ask it for its name.
const LOADERS: &[(&str, &str)] = &[("code", "load_code_server_prerequisites")];

/// Whether a function needs every module that it names.
pub(super) fn loads_what_it_names(module: &str, function: &str) -> bool {
    LOADERS.contains(&(module, function))
}

/// Modules of functions that nobody uses as a callback: that the platform's own code makes their names as atoms is
/// no reason to think that it calls them by them.
const LIBRARIES: &[&str] = &[
    "array",
    "base64",
    "binary",
    "calendar",
    "dict",
    "disk_log",
    "ets",
    "file",
    "filelib",
    "filename",
    "gb_sets",
    "gb_trees",
    "gen_tcp",
    "gen_udp",
    "inet",
    "io",
    "io_lib",
    "lists",
    "maps",
    "math",
    "orddict",
    "ordsets",
    "os",
    "proplists",
    "queue",
    "rand",
    "random",
    "re",
    "sets",
    "sofs",
    "string",
    "timer",
    "unicode",
    "uri_string",
];

/// Whether a module is used by its full name only.
pub(super) fn is_library(module: &str) -> bool {
    LIBRARIES.contains(&module)
}

/// The condition of a module.
pub(super) fn condition(module: &str) -> Option<Condition> {
    CONDITIONS.iter().find(|(pattern, _)| fits(pattern, module)).map(|(_, condition)| *condition)
}

/// Whether a function of the platform compiles or evaluates source code.
pub(super) fn is_door(module: &str, function: &str) -> bool {
    DOORS
        .iter()
        .any(|(name, functions)| *name == module && functions.iter().any(|pattern| fits(pattern, function)))
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_once_and_stars_at_the_end() {
        let mut names: Vec<&str> = CONDITIONS.iter().map(|(name, _)| *name).collect();
        assert!(names.iter().all(|name| name.trim_end_matches('*').find('*').is_none()));
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        let mut libraries = LIBRARIES.to_vec();
        libraries.sort_unstable();
        assert!(libraries.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn patterns() {
        assert_eq!(condition("edlin_expand"), Some(Condition::Shell));
        assert_eq!(condition("edlin"), None);
        assert_eq!(condition("Elixir.Module.Types.Descr"), Some(Condition::Compiling));
        assert_eq!(condition("Elixir.Module"), None);
        assert!(is_door("Elixir.Code", "eval_string") && !is_door("Elixir.Code", "ensure_loaded?"));
        assert!(is_door("elixir_compiler", "anything") && !is_door("elixir", "start"));
        assert_eq!(function_condition("global", "handle_info"), Some(Condition::Distribution));
        assert_eq!(function_condition("global", "whereis_name"), None);
        assert!(is_library("lists") && !is_library("code"));
        assert!(loads_what_it_names("code", "load_code_server_prerequisites"));
    }

    /// A name that no version has is a typing error: those that the host's or the shared versions lack are known.
    #[test]
    fn every_name_is_one_of_a_module() {
        let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/mirror/v3.23/community/x86_64");
        let mut names = std::collections::BTreeSet::new();
        for root in ["/usr/lib/erlang/lib", "/usr/lib/elixir/lib"] {
            let Ok(applications) = fs_err::read_dir(root) else { continue };
            for application in applications.flatten() {
                let files = fs_err::read_dir(application.path().join("ebin")).into_iter().flatten().flatten();
                names.extend(files.map(|file| file.file_name().to_string_lossy().replace(".beam", "")));
            }
        }
        let packages = fs_err::read_dir(shared).into_iter().flatten().flatten();
        for package in
            packages.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "apk"))
        {
            // The data is the last of three gzip members, which one reader reads as one stream.
            let file = fs_err::File::open(package).expect("readable");
            let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(file));
            archive.set_ignore_zeros(true);
            for entry in archive.entries().expect("a package").flatten() {
                let path = entry.path_bytes();
                let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                if let Some(name) = name.strip_suffix(b".beam") {
                    names.insert(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        if names.len() < 1500 {
            println!("SKIP: not enough of Erlang and Elixir is here to compare with");
            return;
        }
        let known = |pattern: &str| names.iter().any(|name| fits(pattern, name));
        let functions = FUNCTIONS.iter().map(|(module, ..)| *module);
        let doors = DOORS.iter().map(|(module, _)| *module);
        let unknown: Vec<&str> = CONDITIONS
            .iter()
            .map(|(pattern, _)| *pattern)
            .chain(functions)
            .chain(doors)
            .chain(LIBRARIES.iter().copied())
            .filter(|pattern| !known(pattern))
            .collect();
        assert_eq!(unknown, Vec::<&str>::new());
    }
}
