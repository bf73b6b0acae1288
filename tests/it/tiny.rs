//! A release that is as small as one can be: nothing in it can run, but everything that leanfs looks for is there.

use std::path::Path;

/// The ERTS version of [`release`].
const ERTS: &str = "15.0";

/// Writes a bare release (as `systools` makes them) with its own ERTS to `root`.
pub(crate) fn release(root: &Path) {
    let rel = format!(
        "{{release,{{\"tiny\",\"1\"}},{{erts,\"{ERTS}\"}},[{{kernel,\"10.0\"}},{{stdlib,\"6.0\"}},{{tiny,\"1\"}}]}}.\n"
    );
    write(root, "releases/1/tiny.rel", rel.as_bytes());
    write(root, "releases/1/start.boot", &boot());
    for program in ["beam.smp", "erl_child_setup", "inet_gethost", "erlexec", "epmd"] {
        write(root, &format!("erts-{ERTS}/bin/{program}"), &static_elf());
    }
    for (name, version) in [("kernel", "10.0"), ("stdlib", "6.0"), ("tiny", "1")] {
        let specification =
            format!("{{application,{name},[{{vsn,\"{version}\"}},{{modules,[]}},{{applications,[]}}]}}.\n");
        write(root, &format!("lib/{name}-{version}/ebin/{name}.app"), specification.as_bytes());
    }
    write(root, "lib/tiny-1/priv/greeting.txt", b"hello\n");
}

/// `{script,{"tiny","1"},[{progress,started}]}` in the external term format.
fn boot() -> Vec<u8> {
    let mut bytes = b"\x83\x68\x03\x77\x06script\x68\x02\x6b\x00\x04tiny\x6b\x00\x011".to_vec();
    bytes.extend(b"\x6c\x00\x00\x00\x01\x68\x02\x77\x08progress\x77\x07started\x6a");
    bytes
}

/// A statically linked x86_64 program of one segment: header and program header (System V ABI, chapter 4 and 5).
pub(crate) fn static_elf() -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2u16, 62] {
        elf.extend(half.to_le_bytes()); // e_type ET_EXEC, e_machine EM_X86_64
    }
    elf.extend(1u32.to_le_bytes()); // e_version
    for word in [0x40_0078u64, 64, 0] {
        elf.extend(word.to_le_bytes()); // e_entry, e_phoff, e_shoff
    }
    elf.extend(0u32.to_le_bytes()); // e_flags
    for half in [64u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_le_bytes()); // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    }
    for word in [1u32, 5] {
        elf.extend(word.to_le_bytes()); // p_type PT_LOAD, p_flags R+X
    }
    for word in [0u64, 0x40_0000, 0x40_0000, 0x7a, 0x7a, 0x1000] {
        elf.extend(word.to_le_bytes()); // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    }
    elf.extend(b"\xeb\xfe"); // jmp .
    elf
}

/// A program for musl that is linked with some libraries.
pub(crate) fn dynamic_elf(libraries: &[&str]) -> Vec<u8> {
    elf_for("/lib/ld-musl-x86_64.so.1", libraries)
}

/// A program that this loader starts and that is linked with some libraries: one segment that is the whole file, at address 0 (System V ABI,
/// chapter 5).
pub(crate) fn elf_for(interpreter: &str, libraries: &[&str]) -> Vec<u8> {
    let interpreter = [interpreter.as_bytes(), b"\0"].concat();
    let mut strings = b"\0".to_vec();
    let mut dynamic: Vec<[u64; 2]> = Vec::new();
    for library in libraries {
        dynamic.push([1, strings.len() as u64]); // DT_NEEDED
        strings.extend(library.as_bytes());
        strings.push(0);
    }
    let interpreter_at = 64 + 3 * 56;
    let strings_at = interpreter_at + interpreter.len() as u64;
    let dynamic_at = (strings_at + strings.len() as u64).next_multiple_of(8);
    dynamic.extend([[5, strings_at], [10, strings.len() as u64], [0, 0]]); // DT_STRTAB, DT_STRSZ, DT_NULL
    let dynamic_size = 16 * dynamic.len() as u64;
    let size = dynamic_at + dynamic_size;
    let mut elf = static_elf()[..16].to_vec();
    for half in [3u16, 62] {
        elf.extend(half.to_le_bytes()); // e_type ET_DYN, e_machine EM_X86_64
    }
    elf.extend(1u32.to_le_bytes());
    for word in [0u64, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 3, 64, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    // PT_INTERP, PT_LOAD, PT_DYNAMIC: each with flags, place and size.
    for (kind, at, length) in
        [(3u32, interpreter_at, interpreter.len() as u64), (1, 0, size), (2, dynamic_at, dynamic_size)]
    {
        elf.extend(kind.to_le_bytes());
        elf.extend(5u32.to_le_bytes());
        for word in [at, at, at, length, length, 8] {
            elf.extend(word.to_le_bytes());
        }
    }
    elf.extend(&interpreter);
    elf.extend(&strings);
    elf.resize(dynamic_at as usize, 0);
    for [tag, value] in dynamic {
        elf.extend(tag.to_le_bytes());
        elf.extend(value.to_le_bytes());
    }
    elf
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs_err::create_dir_all(path.parent().expect("it is below the root")).expect("a directory");
    fs_err::write(path, bytes).expect("written");
}
