//! Our keys on the kernel's command line. The format's description is in `src/layer/init_conf.rs`.

use alloc::vec::Vec;

use crate::address::{self, Address};
use crate::conf::{DEVICE, OnExit};
use crate::device::Wanted;

/// The longest name that a network device can have: Linux's `IFNAMSIZ` without the NUL.
const MOST_DEVICE_NAME_BYTES: usize = 15;

/// What our keys say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    pub network: Option<Network>,
    pub hostname: Option<Vec<u8>>,
    /// `NAME=VALUE`.
    pub env: Vec<Vec<u8>>,
    pub on_exit: Option<OnExit>,
    /// `root=`.
    pub root: Option<Wanted>,
    /// `rootfstype=`: the first of its words.
    pub root_type: Option<Vec<u8>>,
    /// `rootflags=`.
    pub root_flags: Option<Vec<u8>>,
    /// `rw`, and no `ro` behind it.
    pub is_root_writable: bool,
    /// `leanfs.data=`: where the data is.
    pub data: Option<Wanted>,
    /// `leanfs.trace=1`: what the program opens is said.
    pub trace: bool,
    pub warnings: Vec<Warning>,
}

/// `leanfs.ip=`.
#[derive(Debug, PartialEq, Eq)]
pub struct Network {
    pub address: Address,
    /// The length of the network's part of the address, in bits.
    pub prefix: u8,
    pub gateway: Option<Address>,
    pub name_servers: Vec<Address>,
    /// The first that is not the loopback if there is none.
    pub device: Option<Vec<u8>>,
}

/// A word of ours that says nothing that is known, and what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Warning {
    pub word: Vec<u8>,
    pub what: &'static str,
}

/// Takes the whole line: words between spaces; a quotation mark, which is not kept, makes the spaces up to the
/// next one part of the word (`leanfs.env="A=b c"`), as in the kernel. Words that are not ours are passed over.
pub fn parse(line: &[u8]) -> CommandLine {
    let mut command_line = CommandLine::default();
    let mut word = Vec::new();
    let mut is_quoted = false;
    for &byte in line.iter().chain(b" ") {
        match byte {
            b'"' => is_quoted = !is_quoted,
            0 => {}
            _ if byte.is_ascii_whitespace() && !is_quoted => {
                take(&mut command_line, core::mem::take(&mut word))
            }
            _ => word.push(byte),
        }
    }
    command_line
}

fn take(command_line: &mut CommandLine, word: Vec<u8>) {
    let Some(ours) = word.strip_prefix(b"leanfs.") else {
        if let Err(what) = take_kernels(command_line, &word) {
            command_line.warnings.push(Warning { word, what });
        }
        return;
    };
    let result = match ours.iter().position(|&byte| byte == b'=') {
        Some(equals) => set(command_line, &ours[..equals], &ours[equals + 1..]),
        None => Err("this key takes a value"),
    };
    if let Err(what) = result {
        command_line.warnings.push(Warning { word, what });
    }
}

/// The kernel's own words for its root (Linux's `Documentation/admin-guide/kernel-parameters.txt`), which count where
/// PID 1 mounts it.
fn take_kernels(command_line: &mut CommandLine, word: &[u8]) -> Result<(), &'static str> {
    let value = |key: &[u8]| word.strip_prefix(key);
    match word {
        b"ro" => command_line.is_root_writable = false,
        b"rw" => command_line.is_root_writable = true,
        _ => {
            if let Some(root) = value(b"root=") {
                command_line.root = Some(Wanted::parse(root).ok_or(DEVICE)?);
            } else if let Some(kinds) = value(b"rootfstype=") {
                let first = kinds.split(|&byte| byte == b',').next().unwrap_or_default();
                command_line.root_type = Some(first.to_vec()).filter(|kind| !kind.is_empty());
            } else if let Some(flags) = value(b"rootflags=") {
                command_line.root_flags = Some(flags.to_vec());
            }
        }
    }
    Ok(())
}

fn set(command_line: &mut CommandLine, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
    match key {
        b"ip" => command_line.network = Some(network(value)?),
        b"hostname" => command_line.hostname = Some(value.to_vec()),
        b"env" if value.contains(&b'=') && !value.starts_with(b"=") => command_line.env.push(value.to_vec()),
        b"env" => return Err("it takes NAME=VALUE"),
        b"on-exit" => {
            command_line.on_exit = Some(OnExit::parse(value).ok_or("it takes poweroff, reboot or halt")?);
        }
        b"data" => command_line.data = Some(Wanted::parse(value).ok_or(DEVICE)?),
        b"trace" if value == b"1" => command_line.trace = true,
        b"trace" => return Err("it takes 1"),
        _ => return Err("this key is not known"),
    }
    Ok(())
}

fn network(value: &[u8]) -> Result<Network, &'static str> {
    let mut parts = value.split(|&byte| byte == b',');
    let (address, prefix) = address::parse_with_prefix(parts.next().unwrap_or_default())
        .ok_or("it takes an IPv4 address and a prefix, as in 10.0.2.15/24")?;
    let mut network = Network { address, prefix, gateway: None, name_servers: Vec::new(), device: None };
    for part in parts {
        let mut pair = part.splitn(2, |&byte| byte == b'=');
        let key = pair.next().unwrap_or_default();
        let value = pair.next().ok_or("after a comma it takes gateway=, dns= or device=")?;
        let address = || Address::parse(value).ok_or("gateway= and dns= take an IPv4 address");
        match key {
            b"gateway" => network.gateway = Some(address()?),
            b"dns" => network.name_servers.push(address()?),
            b"device" if (1..=MOST_DEVICE_NAME_BYTES).contains(&value.len()) => {
                network.device = Some(value.to_vec());
            }
            b"device" => return Err("device= takes a name of 1 to 15 bytes"),
            _ => return Err("after a comma it takes gateway=, dns= or device="),
        }
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_keys_among_others() {
        let line = parse(
            b"console=ttyS0 leanfs.ip=10.0.2.15/24,gateway=10.0.2.2,dns=10.0.2.3,dns=1.1.1.1,device=eth0 quiet \
              leanfs.on-exit=reboot leanfs.env=A=1 leanfs.env=\"B=2 3\" \"leanfs.env=C=\" leanfs.hostname=h.x leanfs.trace=1 root=PARTUUID=AB-c \
              rootfstype=ext4,erofs rootflags=noload rw leanfs.data=/dev/vdb panic=1\n",
        );
        assert_eq!(
            line,
            CommandLine {
                network: Some(Network {
                    address: Address([10, 0, 2, 15]),
                    prefix: 24,
                    gateway: Some(Address([10, 0, 2, 2])),
                    name_servers: Vec::from([Address([10, 0, 2, 3]), Address([1, 1, 1, 1])]),
                    device: Some(b"eth0".to_vec()),
                }),
                hostname: Some(b"h.x".to_vec()),
                env: Vec::from([b"A=1".to_vec(), b"B=2 3".to_vec(), b"C=".to_vec()]),
                on_exit: Some(OnExit::Reboot),
                root: Some(Wanted::PartitionUuid(b"ab-c".to_vec())),
                root_type: Some(b"ext4".to_vec()),
                root_flags: Some(b"noload".to_vec()),
                is_root_writable: true,
                data: Some(Wanted::Path(b"/dev/vdb".to_vec())),
                trace: true,
                warnings: Vec::new(),
            }
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (word, what) in [
            ("leanfs.ip=dhcp", "it takes an IPv4 address and a prefix, as in 10.0.2.15/24"),
            ("leanfs.ip=10.0.2.15/24,gateway=x", "gateway= and dns= take an IPv4 address"),
            ("leanfs.ip=10.0.2.15/24,eth0", "after a comma it takes gateway=, dns= or device="),
            ("leanfs.ip=10.0.2.15/24,mtu=1", "after a comma it takes gateway=, dns= or device="),
            ("leanfs.ip=10.0.2.15/24,device=abcdefghijklmnop", "device= takes a name of 1 to 15 bytes"),
            ("leanfs.env=A", "it takes NAME=VALUE"),
            ("leanfs.on-exit=x", "it takes poweroff, reboot or halt"),
            ("root=8:1", DEVICE),
            ("leanfs.data=x", DEVICE),
            ("leanfs.trace=yes", "it takes 1"),
            ("leanfs.shell=1", "this key is not known"),
            ("leanfs.ip", "this key takes a value"),
        ] {
            let line = parse(word.as_bytes());
            assert_eq!(line.warnings, [Warning { word: word.as_bytes().to_vec(), what }]);
            assert_eq!((line.network, line.trace), (None, false));
        }
        assert_eq!(parse(b"ip=dhcp leanfs quiet"), CommandLine::default());
    }
}
