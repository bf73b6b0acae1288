//! The host's name, the loopback, and the address from the kernel's command line (netdevice(7)).

use alloc::vec::Vec;

use crate::address::Address;
use crate::cmdline::Network;
use crate::files;
use crate::line::say;
use crate::names::ENETUNREACH;
use crate::sys::{self, Descriptor, Errno, Milliseconds};

/// Linux's limit for a host's name.
const MOST_HOSTNAME_BYTES: usize = 64;
/// What a name without a dot gets.
const DOMAIN: &[u8] = b".local";

/// How long a network device may take to appear after its module was loaded.
const MOST_WAIT: Milliseconds = Milliseconds(5000);
/// How long between two looks.
const POLL: Milliseconds = Milliseconds(20);
/// Devices have small numbers, counted from 1 on as they appear.
const MOST_DEVICES: i32 = 64;

const SIOCADDRT: usize = 0x890b;
const SIOCGIFNAME: usize = 0x8910;
const SIOCGIFFLAGS: usize = 0x8913;
const SIOCSIFFLAGS: usize = 0x8914;
const SIOCSIFADDR: usize = 0x8916;
const SIOCSIFNETMASK: usize = 0x891c;
const SIOCGIFHWADDR: usize = 0x8927;

const IFF_UP: u16 = 1;
const IFF_LOOPBACK: u16 = 8;
/// The hardware type of Ethernet, and of all that look like it (virtio-net).
const ARPHRD_ETHER: u16 = 1;
const AF_INET: u16 = 2;
const RTF_UP: u16 = 1;
const RTF_GATEWAY: u16 = 2;
const RTF_HOST: u16 = 4;

/// `struct sockaddr_in`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SocketAddress {
    family: u16,
    port: u16,
    address: [u8; 4],
    zero: [u8; 8],
}

impl SocketAddress {
    fn new(address: Address) -> Self {
        Self { family: AF_INET, port: 0, address: address.0, zero: [0; 8] }
    }
}

/// `struct ifreq`: a device's name, and a union of 24 bytes.
#[repr(C, align(8))]
struct InterfaceRequest {
    name: [u8; 16],
    value: [u8; 24],
}

/// `struct rtentry`.
#[repr(C)]
struct RouteEntry {
    pad1: u64,
    destination: SocketAddress,
    gateway: SocketAddress,
    mask: SocketAddress,
    flags: u16,
    pad2: i16,
    pad3: u64,
    pad4: usize,
    metric: i16,
    device: *const u8,
    mtu: u64,
    window: u64,
    initial_round_trip: u16,
}

const _: () = assert!(size_of::<SocketAddress>() == 16);
const _: () = assert!(size_of::<InterfaceRequest>() == 40);
const _: () = assert!(size_of::<RouteEntry>() == 120);

/// Sets the host's name. A name without a dot gets a domain: for one without, Erlang's resolver asks the network
/// at start and waits for an answer.
pub fn set_hostname(name: &[u8]) {
    let mut full = name.to_vec();
    if !name.contains(&b'.') {
        full.extend_from_slice(DOMAIN);
    }
    if name.is_empty() || full.len() > MOST_HOSTNAME_BYTES {
        say("the host name ").bytes(name).text(" is not set: it must have 1 to 64 bytes with its domain");
        return;
    }
    if let Err(error) = sys::set_hostname(&full) {
        say("the host name ").bytes(&full).text(" can't be set").error(error);
    }
}

/// Brings the loopback up; the kernel gives it 127.0.0.1.
pub fn loopback_up() {
    let result = sys::internet_socket().and_then(|socket| {
        let result = Device { socket, name: padded(b"lo") }.up();
        sys::close(socket);
        result
    });
    if let Err(error) = result {
        say("the loopback device can't be brought up").error(error);
    }
}

/// Waits for the device, gives it its address and its routes, and names the name servers in `/etc/resolv.conf`.
pub fn configure(network: &Network) {
    match sys::internet_socket() {
        Ok(socket) => {
            configure_device(socket, network);
            sys::close(socket);
        }
        Err(error) => drop(say("there is no network").error(error)),
    }
    if !network.name_servers.is_empty() {
        let mut text = Vec::new();
        for server in &network.name_servers {
            text.extend_from_slice(b"nameserver ");
            push_address(&mut text, *server);
            text.push(b'\n');
        }
        if let Err(error) = files::write(c"/etc/resolv.conf", &text) {
            say("the name servers can't be written to /etc/resolv.conf").error(error);
        }
    }
}

fn configure_device(socket: Descriptor, network: &Network) {
    let Some(device) = wait_for_device(socket, network.device.as_deref()) else {
        let line = match &network.device {
            Some(name) => say("the network device ").bytes(name).text(" has not appeared"),
            None => say("no network device appeared"),
        };
        line.text(
            " within 5 s: is one given to the machine, and is its driver built into the kernel or among the \
             modules in init.conf?",
        );
        return;
    };
    let name = device.name.split(|&byte| byte == 0).next().unwrap_or_default();
    let failed = |what: &str, error: Errno| {
        drop(say("the network device ").bytes(name).text(": ").text(what).error(error));
    };
    if let Err(error) = device.set_address(SIOCSIFADDR, network.address) {
        return failed("its address can't be set", error);
    }
    if let Err(error) = device.set_address(SIOCSIFNETMASK, Address::mask(network.prefix)) {
        failed("its network mask can't be set", error);
    }
    if let Err(error) = device.up() {
        return failed("it can't be brought up", error);
    }
    if let Some(gateway) = network.gateway {
        let mut result = device.add_default_route(gateway);
        if result == Err(Errno(ENETUNREACH)) {
            // The gateway is outside the device's network, as with a prefix of 32: say that it is on the wire.
            result = device.add_host_route(gateway).and_then(|()| device.add_default_route(gateway));
        }
        if let Err(error) = result {
            failed("the gateway can't be set", error);
        }
    }
}

/// A network device, to be changed through a socket.
struct Device {
    socket: Descriptor,
    name: [u8; 16],
}

impl Device {
    fn request(&self, request: usize, value: &[u8]) -> Result<[u8; 24], Errno> {
        let mut argument = InterfaceRequest { name: self.name, value: [0; 24] };
        argument.value[..value.len()].copy_from_slice(value);
        // SAFETY: all requests of this module but SIOCADDRT take a `struct ifreq`.
        unsafe { sys::ioctl(self.socket, request, &mut argument) }?;
        Ok(argument.value)
    }

    fn flags(&self) -> Result<u16, Errno> {
        self.request(SIOCGIFFLAGS, &[]).map(|value| u16::from_ne_bytes([value[0], value[1]]))
    }

    fn up(&self) -> Result<(), Errno> {
        let flags = self.flags()? | IFF_UP;
        self.request(SIOCSIFFLAGS, &flags.to_ne_bytes()).map(drop)
    }

    /// Whether it is an Ethernet device and not the loopback.
    fn is_wired(&self) -> bool {
        let kind = self.request(SIOCGIFHWADDR, &[]).map(|value| u16::from_ne_bytes([value[0], value[1]]));
        kind == Ok(ARPHRD_ETHER) && self.flags().is_ok_and(|flags| flags & IFF_LOOPBACK == 0)
    }

    fn set_address(&self, request: usize, address: Address) -> Result<(), Errno> {
        let [a, b, c, d] = address.0;
        let [low, high] = AF_INET.to_ne_bytes();
        self.request(request, &[low, high, 0, 0, a, b, c, d]).map(drop)
    }

    fn add_default_route(&self, gateway: Address) -> Result<(), Errno> {
        self.add_route(Address([0; 4]), gateway, RTF_GATEWAY)
    }

    fn add_host_route(&self, host: Address) -> Result<(), Errno> {
        self.add_route(host, Address([0; 4]), RTF_HOST)
    }

    fn add_route(&self, destination: Address, gateway: Address, flags: u16) -> Result<(), Errno> {
        let mut entry = RouteEntry {
            pad1: 0,
            destination: SocketAddress::new(destination),
            gateway: SocketAddress::new(gateway),
            mask: SocketAddress::new(Address([0; 4])),
            flags: RTF_UP | flags,
            pad2: 0,
            pad3: 0,
            pad4: 0,
            metric: 0,
            device: self.name.as_ptr(),
            mtu: 0,
            window: 0,
            initial_round_trip: 0,
        };
        // SAFETY: SIOCADDRT takes a `struct rtentry`, whose device is a name that ends with a NUL byte.
        unsafe { sys::ioctl(self.socket, SIOCADDRT, &mut entry) }
    }
}

fn wait_for_device(socket: Descriptor, name: Option<&[u8]>) -> Option<Device> {
    for attempt in 0..=MOST_WAIT.0 / POLL.0 {
        if attempt > 0 {
            sys::sleep(POLL);
        }
        let found = match name {
            Some(name) => Some(Device { socket, name: padded(name) }).filter(|device| device.flags().is_ok()),
            None => first_device(socket),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The Ethernet device with the lowest number.
fn first_device(socket: Descriptor) -> Option<Device> {
    (1..=MOST_DEVICES).find_map(|index| {
        let mut argument = InterfaceRequest { name: [0; 16], value: [0; 24] };
        argument.value[..4].copy_from_slice(&index.to_ne_bytes());
        // SAFETY: SIOCGIFNAME takes a `struct ifreq`.
        unsafe { sys::ioctl(socket, SIOCGIFNAME, &mut argument) }.ok()?;
        Some(Device { socket, name: argument.name }).filter(Device::is_wired)
    })
}

/// A device's name with a NUL byte at the end; what is too long for one was refused before.
fn padded(name: &[u8]) -> [u8; 16] {
    let mut padded = [0; 16];
    let length = name.len().min(padded.len() - 1);
    padded[..length].copy_from_slice(&name[..length]);
    padded
}

fn push_address(text: &mut Vec<u8>, address: Address) {
    for (index, byte) in address.0.into_iter().enumerate() {
        if index > 0 {
            text.push(b'.');
        }
        text.extend_from_slice(crate::line::decimal(u64::from(byte), &mut [0; 20]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_text() {
        let mut text = Vec::new();
        push_address(&mut text, Address([10, 0, 2, 255]));
        assert_eq!(text, b"10.0.2.255");
    }

    #[test]
    fn the_loopback_is_no_wired_device() {
        let socket = sys::internet_socket().expect("a socket");
        assert!(!Device { socket, name: padded(b"lo") }.is_wired());
        assert!(first_device(socket).is_none_or(|device| !device.name.starts_with(b"lo\0")));
        sys::close(socket);
    }
}
