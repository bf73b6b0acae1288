//! Processor architectures and their names in the different worlds.

use std::fmt;
use std::str::FromStr;

/// An architecture that images can be assembled for. Nothing of the target is ever executed, so any can be
/// assembled on any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

/// A name that is no known architecture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no architecture that leanfs knows: x86_64, aarch64 and riscv64 are")]
pub struct UnknownArch(pub String);

impl Arch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::X86_64, Self::Aarch64, Self::Riscv64];

    /// The architecture of the machine that this runs on, if leanfs knows it.
    pub fn host() -> Option<Self> {
        std::env::consts::ARCH.parse().ok()
    }

    /// Alpine's name, which is also the name in repository paths.
    pub fn alpine(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// `e_machine` of its ELF files (System V ABI, "ELF Header").
    pub fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => object::elf::EM_X86_64,
            Self::Aarch64 => object::elf::EM_AARCH64,
            Self::Riscv64 => object::elf::EM_RISCV,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.alpine())
    }
}

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "x86_64" | "amd64" => Ok(Self::X86_64),
            "aarch64" | "arm64" => Ok(Self::Aarch64),
            "riscv64" | "riscv64gc" => Ok(Self::Riscv64),
            other => Err(UnknownArch(other.to_owned())),
        }
    }
}
