//! The applications that are Erlang's and Elixir's own.

/// Those of Erlang/OTP 25 to 28, and of packagers of it; in byte order.
const OTP: [&str; 40] = [
    "asn1",
    "common_test",
    "compiler",
    "crypto",
    "debugger",
    "dialyzer",
    "diameter",
    "edoc",
    "eldap",
    "erl_docgen",
    "erl_interface",
    "erts",
    "et",
    "eunit",
    "ftp",
    "hipe",
    "inets",
    "jinterface",
    "kernel",
    "megaco",
    "mnesia",
    "observer",
    "odbc",
    "os_mon",
    "otp_mibs",
    "parsetools",
    "public_key",
    "reltool",
    "runtime_tools",
    "sasl",
    "snmp",
    "ssh",
    "ssl",
    "stdlib",
    "syntax_tools",
    "tftp",
    "tools",
    "typer",
    "wx",
    "xmerl",
];
/// Those of Elixir; in byte order.
const ELIXIR: [&str; 6] = ["eex", "elixir", "ex_unit", "iex", "logger", "mix"];

/// Whose an application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Erlang/OTP's.
    Otp,
    /// Elixir's.
    Elixir,
}

/// Whose an application is, by its name without version; `None` if it is neither's.
pub fn platform_of(application: &str) -> Option<Platform> {
    if ELIXIR.binary_search(&application).is_ok() {
        Some(Platform::Elixir)
    } else {
        OTP.binary_search(&application).is_ok().then_some(Platform::Otp)
    }
}

/// Whether an application, by its name without version, is one of Erlang/OTP or Elixir itself.
pub fn is_platform_application(name: &str) -> bool {
    platform_of(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(OTP.is_sorted() && ELIXIR.is_sorted());
        assert_eq!(platform_of("stdlib"), Some(Platform::Otp));
        assert_eq!(platform_of("logger"), Some(Platform::Elixir));
        assert!(!is_platform_application("jason"));
    }
}
