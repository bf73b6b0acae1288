use serde_json::{Value, json};

use super::*;

/// The definitions of Firecracker's API that the file is made of, as its `firecracker.yaml` of version 1.17 has them:
/// of each, its fields with their types, `!` for one that is required. The file itself is `FullVmConfiguration`, which
/// requires nothing there; `boot-source` and `drives` can't be left out of the file all the same (`VmmConfig` in
/// `src/vmm/src/resources.rs`).
const SCHEMA: &[(&str, &[(&str, &str)])] = &[
    (
        "FullVmConfiguration",
        &[
            ("balloon", "Balloon"),
            ("drives!", "array of Drive"),
            ("boot-source!", "BootSource"),
            ("cpu-config", "CpuConfig"),
            ("logger", "Logger"),
            ("machine-config", "MachineConfiguration"),
            ("metrics", "Metrics"),
            ("memory-hotplug", "MemoryHotplugConfig"),
            ("mmds-config", "MmdsConfig"),
            ("network-interfaces", "array of NetworkInterface"),
            ("pmem", "array of Pmem"),
            ("vsock", "Vsock"),
            ("entropy", "EntropyDevice"),
        ],
    ),
    ("BootSource", &[("boot_args", "string"), ("initrd_path", "string"), ("kernel_image_path!", "string")]),
    (
        "Drive",
        &[
            ("drive_id!", "string"),
            ("partuuid", "string"),
            ("is_root_device!", "boolean"),
            ("cache_type", "string"),
            // "This field is required for virtio-block config", as path_on_host is.
            ("is_read_only!", "boolean"),
            ("path_on_host!", "string"),
            ("rate_limiter", "RateLimiter"),
            ("io_engine", "string"),
            ("socket", "string"),
        ],
    ),
    (
        "MachineConfiguration",
        &[
            ("cpu_template", "string"),
            ("smt", "boolean"),
            ("mem_size_mib!", "integer"),
            ("track_dirty_pages", "boolean"),
            ("vcpu_count!", "integer"),
            ("huge_pages", "string"),
        ],
    ),
    (
        "NetworkInterface",
        &[
            ("guest_mac", "string"),
            ("host_dev_name!", "string"),
            ("iface_id!", "string"),
            ("mtu", "integer"),
            ("rx_rate_limiter", "RateLimiter"),
            ("tx_rate_limiter", "RateLimiter"),
        ],
    ),
    ("Vsock", &[("guest_cid!", "integer"), ("uds_path!", "string"), ("vsock_id", "string")]),
    ("EntropyDevice", &[("rate_limiter", "RateLimiter")]),
];

/// What is wrong with a value, as the schema has it.
fn wrong(value: &Value, kind: &str, place: &str) -> Vec<String> {
    let simple = match kind {
        "string" => Some(value.is_string()),
        "boolean" => Some(value.is_boolean()),
        "integer" => Some(value.is_u64()),
        _ => None,
    };
    if let Some(is_right) = simple {
        return if is_right { vec![] } else { vec![format!("{place} is no {kind}: {value}")] };
    }
    if let Some(item) = kind.strip_prefix("array of ") {
        let Some(items) = value.as_array() else { return vec![format!("{place} is no array")] };
        return items.iter().flat_map(|value| wrong(value, item, place)).collect();
    }
    let Some((_, fields)) = SCHEMA.iter().find(|(name, _)| *name == kind) else {
        return vec![format!("{place} is {kind}, which isn't written")];
    };
    let Some(object) = value.as_object() else { return vec![format!("{place} is no {kind}")] };
    let mut found = Vec::new();
    for (key, value) in object {
        let known = fields.iter().find(|(name, _)| name.trim_end_matches('!') == key);
        match known {
            Some((_, kind)) => found.extend(wrong(value, kind, &format!("{place}.{key}"))),
            None => found.push(format!("{place} has no field {key}")),
        }
    }
    for (name, _) in fields.iter().filter(|(name, _)| name.ends_with('!')) {
        if !object.contains_key(name.trim_end_matches('!')) {
            found.push(format!("{place} lacks {name}"));
        }
    }
    found
}

fn boot_source() -> BootSource {
    BootSource {
        kernel_image_path: "out/vmlinux".to_owned(),
        boot_args: boot_args("console=ttyS0 quiet", Arch::X86_64),
        initrd_path: None,
    }
}

/// With every field that there is.
fn full() -> Config {
    let drive = |drive_id: &str, is_root_device| Drive {
        drive_id: drive_id.to_owned(),
        path_on_host: format!("out/{drive_id}.raw"),
        is_root_device,
        is_read_only: is_root_device,
        partuuid: is_root_device.then(|| "abababab-abab-abab-abab-abababababab".to_owned()),
    };
    Config {
        boot_source: BootSource { initrd_path: Some("out/initramfs".to_owned()), ..boot_source() },
        drives: vec![drive("disk", true), drive("data", false)],
        network_interfaces: vec![NetworkInterface {
            iface_id: "eth0".to_owned(),
            host_dev_name: "tap0".to_owned(),
            guest_mac: Some(Mac([6, 0, 0xac, 0x10, 0, 2])),
        }],
        vsock: Some(Vsock { guest_cid: 3, uds_path: "/run/v.sock".to_owned() }),
        ..Config::new(boot_source())
    }
}

#[test]
fn the_file_is_as_the_api_has_it() {
    for config in [full(), Config::new(boot_source())] {
        let text = config.to_json().expect("good settings");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(wrong(&value, "FullVmConfiguration", "file"), [""; 0]);
    }
    // The check itself finds what is wrong.
    let mut value = serde_json::to_value(full()).expect("JSON");
    value["boot-source"] = json!({ "kernel_image": "x", "boot_args": 1 });
    assert_eq!(wrong(&value, "FullVmConfiguration", "file").len(), 3);
}

#[test]
fn the_text_is_this() {
    assert_eq!(
        Config::new(boot_source()).to_json().expect("good"),
        r#"{
  "boot-source": {
    "kernel_image_path": "out/vmlinux",
    "boot_args": "console=ttyS0 quiet panic=-1 reboot=k"
  },
  "drives": [],
  "machine-config": {
    "vcpu_count": 1,
    "mem_size_mib": 128
  },
  "entropy": {}
}
"#
    );
    let value = serde_json::to_value(full()).expect("JSON");
    assert_eq!(value["drives"][0]["partuuid"], "abababab-abab-abab-abab-abababababab");
    assert_eq!(value["network-interfaces"][0]["guest_mac"], "06:00:ac:10:00:02");
}

#[test]
fn what_firecracker_would_refuse() {
    type Change = fn(&mut Config);
    let changes: [(Change, &str); 8] = [
        (|config| config.machine_config.vcpu_count = NonZeroU8::MAX, "processors: \"255\""),
        (|config| config.boot_source.boot_args.push('\0'), "without NUL"),
        (|config| config.drives[0].drive_id.clear(), "letters, digits"),
        (|config| config.drives[0].drive_id = "a-b".to_owned(), "letters, digits"),
        (|config| config.drives[1].drive_id = "disk".to_owned(), "only one of them has"),
        (|config| config.drives[1].is_root_device = true, "the only one"),
        (|config| config.drives[1].partuuid = Some(String::new()), "the root device"),
        (|config| config.vsock.iter_mut().for_each(|vsock| vsock.guest_cid = 2), "at least 3"),
    ];
    for (change, reason) in changes {
        let mut config = full();
        change(&mut config);
        let error = config.to_json().expect_err(reason);
        assert!(error.to_string().contains(reason) && error.is_usage(), "{error}");
    }
}

#[test]
fn command_lines() {
    for (given, arch, expected) in [
        ("console=ttyS0", Arch::X86_64, "console=ttyS0 panic=-1 reboot=k"),
        ("console=ttyS0", Arch::Aarch64, "console=ttyS0 panic=-1"),
        (" panic=5  reboot=t ", Arch::X86_64, "panic=5 reboot=t"),
    ] {
        assert_eq!(boot_args(given, arch), expected);
    }
}
