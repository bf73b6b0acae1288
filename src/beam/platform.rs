//! The applications that are Erlang's and Elixir's own.

/// In byte order.
const APPLICATIONS: [&str; 44] = [
    "asn1",
    "common_test",
    "compiler",
    "crypto",
    "debugger",
    "dialyzer",
    "diameter",
    "edoc",
    "eex",
    "eldap",
    "elixir",
    "erl_interface",
    "erts",
    "et",
    "eunit",
    "ex_unit",
    "ftp",
    "iex",
    "inets",
    "jinterface",
    "kernel",
    "logger",
    "megaco",
    "mix",
    "mnesia",
    "observer",
    "odbc",
    "os_mon",
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
    "wxwidgets",
    "xmerl",
];

/// Whether an application, by its name without version, is one of Erlang/OTP or Elixir itself.
pub fn is_platform_application(name: &str) -> bool {
    APPLICATIONS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(APPLICATIONS.is_sorted());
        assert!(is_platform_application("stdlib") && !is_platform_application("jason"));
    }
}
