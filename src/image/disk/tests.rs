use std::os::unix::fs::FileExt;

use super::*;

fn guid(last: u8) -> Guid {
    let mut bytes = [0x22; 16];
    bytes[15] = last;
    Guid::from_bytes(bytes)
}

const SETTINGS: Settings = Settings { disk_guid: Guid::from_bytes([0x33; 16]), size: None };

fn text(bytes: &'static [u8], length: u64) -> impl FnOnce(Target<'_>) -> Result<u64, ImageError> {
    move |target| {
        target.write_at(0, bytes).map_err(ImageError::Write)?;
        Ok(length)
    }
}

fn esp() -> ValidTree {
    esp_tree(Arch::X86_64, Content::from_bytes(*b"MZ"), 0).validate().expect("valid")
}

#[test]
fn partitions_follow_each_other() {
    let tree = esp();
    let partitions = || {
        vec![
            Partition::esp(guid(1), &tree, fat::Settings::default()),
            Partition::root(Arch::X86_64, guid(2), text(b"root", (1 << 20) + 1)),
            Partition { size: Some(5 << 20), ..Partition::data(guid(3), "data", text(b"data", 5 << 20)) },
            Partition::data(guid(4), "none", |_| Ok(0)),
        ]
    };
    let file = tempfile::tempfile().expect("a file");
    let layout = write(partitions(), &SETTINGS, Target::new(&file)).expect("written");
    let mib = |number: u64| number << 20;
    assert_eq!(
        layout.partitions,
        [(1, 3), (4, 2), (6, 5), (11, 1)].map(|(start, length)| (mib(start), mib(length)))
    );
    assert_eq!(layout.length, mib(13));
    assert_eq!(file.metadata().expect("there").len(), mib(13));
    let read = |position: u64, length: usize| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, position).expect("read");
        bytes
    };
    assert_eq!(read(mib(4), 5), b"root\0");
    assert_eq!(read(mib(6), 5), b"data\0");
    assert_eq!(read(mib(1) + 28, 4), 2048_u32.to_le_bytes(), "the sectors before the file system");
    assert_eq!(read(mib(13) - 512, 8), b"EFI PART");

    let larger = tempfile::tempfile().expect("a file");
    let settings = Settings { size: Some(mib(20) + 512), ..SETTINGS };
    let layout = write(partitions(), &settings, Target::new(&larger)).expect("written");
    assert_eq!(layout.length, mib(20) + 512);
    let tight = Settings { size: Some(mib(12) + 33 * 512), ..SETTINGS };
    write(partitions(), &tight, Target::new(&tempfile::tempfile().expect("a file"))).expect("it just fits");
}

#[test]
fn the_file_system_fills_a_partition_with_a_size() {
    let tree = esp();
    let file = tempfile::tempfile().expect("a file");
    let partition =
        Partition { size: Some((40 << 20) - 1), ..Partition::esp(guid(1), &tree, fat::Settings::default()) };
    write(vec![partition], &SETTINGS, Target::new(&file)).expect("written");
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, (1 << 20) + 32).expect("read");
    assert_eq!(u32::from_le_bytes(bytes), 40 * 2048);
}

#[test]
fn what_can_not_be_is_refused_before_writing() {
    let tree = esp();
    let root = |guid, write: Writer<'static>| Partition::root(Arch::X86_64, guid, write);
    let never = || -> Writer<'static> { Box::new(|_| panic!("nothing is written")) };
    let with = |partitions: Vec<Partition<'_>>, settings: &Settings| {
        let file = tempfile::tempfile().expect("a file");
        let error = write(partitions, settings, Target::new(&file)).expect_err("refused");
        assert_eq!(file.metadata().expect("there").len(), 0, "{error}");
        error
    };
    let sized = |size| Partition { size: Some(size), ..root(guid(1), never()) };
    let small = fat::Settings { size: Some(4096), ..fat::Settings::default() };
    for (partitions, size, reason) in [
        (vec![root(guid(1), never()), root(guid(1), never())], None, "is used twice"),
        (vec![Partition { name: "x".repeat(37), ..sized(1) }], None, "has 37 characters"),
        (vec![Partition { contents: Contents::Empty, ..root(guid(1), never()) }], None, "has no size"),
        (vec![sized(u64::MAX)], None, "can't have"),
        (vec![sized(i64::MAX as u64)], None, "can't have"),
        (vec![sized((i64::MAX as u64) - (1 << 20))], None, "more than 2⁶³"),
        (vec![sized(1)], Some(2 << 20), "needs 3145728 bytes"),
        (vec![sized(1)], Some((3 << 20) + 1), "not a multiple of 512"),
        (vec![sized(1)], Some(u64::MAX - 511), "below 2⁶³"),
        (vec![Partition::esp(guid(1), &tree, small), sized(1)], None, "FAT needs"),
        ((0..129).map(|number| root(guid(number), never())).collect(), None, "129 partitions"),
    ] {
        let error = with(partitions, &Settings { size, ..SETTINGS });
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn lengths_that_turn_out_too_large_are_errors() {
    for (length, size, disk) in [
        (u64::MAX, None, None),
        (i64::MAX as u64, None, None),
        ((1 << 20) + 1, Some(1 << 20), None),
        (3 << 20, None, Some(3 << 20)),
    ] {
        let partition = Partition { size, ..Partition::root(Arch::X86_64, guid(1), move |_| Ok(length)) };
        let settings = Settings { size: disk, ..SETTINGS };
        let file = tempfile::tempfile().expect("a file");
        let error = write(vec![partition], &settings, Target::new(&file)).expect_err("too large");
        assert!(matches!(error, ImageError::Settings { .. } | ImageError::TooSmall { .. }), "{error}");
    }
}

#[test]
fn every_architecture_has_its_name() {
    for (arch, name) in [
        (Arch::X86_64, "/EFI/BOOT/BOOTX64.EFI"),
        (Arch::Aarch64, "/EFI/BOOT/BOOTAA64.EFI"),
        (Arch::Riscv64, "/EFI/BOOT/BOOTRISCV64.EFI"),
    ] {
        assert_eq!(default_boot_path(arch).to_string(), name);
    }
}
