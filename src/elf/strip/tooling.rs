//! Which sections outside of the loaded image are for linkers, debuggers and other tools.

use object::elf;

/// Sections of plain data (`SHT_PROGBITS`) that are known to be for tools, by whole name.
const NAMES: &[&[u8]] = &[
    // Which compiler, and with which options.
    b".comment",
    b".GCC.command.line",
    b".ident",
    // Where debugging information is kept, or a small share of it.
    b".gnu_debuglink",
    b".gnu_debugaltlink",
    b".gnu_debugdata",
    b".gdb_index",
    b".line",
    b".pdr",
    // Types for tracers.
    b".ctf",
    b".SUNW_ctf",
    b".BTF",
    b".BTF.ext",
    // What prelink needs to undo its work.
    b".gnu.prelink_undo",
    // For linkers.
    b".linker-options",
    b".deplibs",
    b".go_export",
    b".swift_ast",
    b".swift1_autolink_entries",
    // Intermediate code.
    b".llvmbc",
    b".llvmcmd",
];

/// The same by how the name begins: DWARF, STABS and ECOFF, notes (also those of annobin and of executable
/// stacks), LTO's intermediate code, warnings and type units for the linker.
const PREFIXES: &[&[u8]] = &[
    b".debug",
    b".zdebug",
    b".stab",
    b".mdebug",
    b".note",
    b".annobin",
    b".gnu.build.attributes",
    b".gnu.lto_",
    b".gnu.debuglto_",
    b".gnu.warning",
    b".gnu.linkonce.wi.",
    b".gnu.linkonce.wt.",
    b".llvm.",
];

/// Whether a section that is not loaded is for tools. Every type but plain data says so itself: symbols,
/// strings, relocations, notes, groups, attributes.
pub(super) fn is_for_tools(kind: u32, name: &[u8]) -> bool {
    let plain_data = kind == elf::SHT_PROGBITS || kind >= elf::SHT_LOUSER;
    !plain_data || NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether this is one of the tables that tell of a file as the linker saw it: their headers go even
/// if a segment happens to cover their bytes, since what they refer to goes.
pub(super) fn is_linking_table(kind: u32) -> bool {
    matches!(
        kind,
        elf::SHT_SYMTAB
            | elf::SHT_STRTAB
            | elf::SHT_SYMTAB_SHNDX
            | elf::SHT_REL
            | elf::SHT_RELA
            | elf::SHT_GROUP
            | elf::SHT_NULL
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_unknown_names_is_the_programs() {
        for name in ["pydata", ".rustc", ".mydata", "", "debug_info", ".upd_info", ".comments", ".BTFs"] {
            assert!(!is_for_tools(elf::SHT_PROGBITS, name.as_bytes()), "{name}");
            assert!(!is_for_tools(elf::SHT_LOUSER + 1, name.as_bytes()), "{name}");
            assert!(is_for_tools(elf::SHT_NOTE, name.as_bytes()), "{name}");
            assert!(is_for_tools(elf::SHT_RELA, name.as_bytes()), "{name}");
        }
        for name in [".debug_info", ".zdebug_line", ".comment", ".stabstr", ".note.GNU-stack", ".BTF"] {
            assert!(is_for_tools(elf::SHT_PROGBITS, name.as_bytes()), "{name}");
        }
    }
}
