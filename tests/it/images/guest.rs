//! Images as a kernel sees them: Alpine's `linux-virt` in QEMU mounts them and runs the lister on them.
//!
//! A boot takes 5 to 20 s of a processor under emulation, so many images go into one. The report comes back through a
//! virtio port into a file: whole, fast, and without what the kernel says on its console.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use leanfs::arch::Arch;
use leanfs::archive::{self, TarLimits, TarOptions};
use leanfs::image::cpio;
use leanfs::kernel::{self, Kernel};
use leanfs::tree::{Content, Metadata, Node, Origin, SpoolWriter, Tree, TreePath};

use super::disk::Scratch;
use super::{BLOCKS_OVER, path, programs};
use crate::end_to_end::bench;

const QEMU: &str = "qemu-system-x86_64";
/// Under emulation, beside other tests.
const MOST_WAIT: Duration = Duration::from_secs(1500);
/// As many as the machine's PCI bus has room for, beside its own devices.
const MOST_DRIVES: usize = 24;
const MODULES: [&str; 4] = ["virtio_blk", "ext4", "squashfs", "erofs"];

/// An image to be looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drive<'a> {
    pub(crate) image: &'a Path,
    /// The kernel's name of the file system.
    pub(crate) file_system: &'a str,
    /// Mount options; may be empty.
    pub(crate) options: &'a str,
    /// First it is mounted for writing, used and filled, and changed on disk; then listed. `fsck` should have a look
    /// at it afterwards.
    pub(crate) change: bool,
}

impl<'a> Drive<'a> {
    /// To be mounted read-only.
    pub(crate) fn new(image: &'a Path, file_system: &'a str) -> Self {
        Self { image, file_system, options: "", change: false }
    }
}

/// What a kernel saw of an image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The listing, as [`super::expected`] has it of a tree, without `/lost+found`.
    pub(crate) listing: String,
    /// What went wrong: why it could not be mounted, listed or changed, and each warning of the kernel meanwhile.
    pub(crate) complaints: Vec<String>,
}

/// Boots a kernel that looks at each of the images. None is a visible skip.
pub(crate) fn in_kernel(drives: &[Drive<'_>]) -> Option<Vec<Seen>> {
    let machine = Machine::new()?;
    let mut seen = Vec::with_capacity(drives.len());
    for drives in drives.chunks(MOST_DRIVES) {
        let mut jobs = String::new();
        for (number, drive) in drives.iter().enumerate() {
            let what = if drive.change { "change" } else { "list" };
            let options = if drive.options.is_empty() { "-" } else { drive.options };
            writeln!(jobs, "{what}\timage{number}\t{}\t{options}", drive.file_system).expect("memory");
        }
        machine.initramfs(jobs, None, Metadata::DIRECTORY);
        seen.extend(machine.boot(drives, drives.len()));
    }
    Some(seen)
}

/// Boots a kernel that unpacks a cpio archive, which may be compressed, and lists what came of it. `root` are the
/// metadata of the archive's root directory, which the guest's own archive, unpacked after it, has to repeat.
pub(crate) fn unpacked_by_kernel(archive: &Path, root: Metadata) -> Option<Seen> {
    let machine = Machine::new()?;
    machine.initramfs("unpacked\tinitramfs\t-\t-\n".to_owned(), Some(archive), root);
    machine.boot(&[], 1).pop()
}

struct Machine {
    scratch: Scratch,
    kernel: Kernel,
    lister: PathBuf,
    guest: PathBuf,
}

impl Machine {
    fn new() -> Option<Self> {
        if !cfg!(target_arch = "x86_64") {
            return bench::skip(
                "the guest's programs are compiled for this machine, and the guest is an x86_64 one",
            );
        }
        bench::tools(&[QEMU])?;
        let (lister, guest) = (programs::lister()?, programs::guest()?);
        let package = package()?;
        let scratch = Scratch::new();
        let mut spool = SpoolWriter::new_in(scratch.path()).expect("a spool");
        let mut options = TarOptions {
            limits: TarLimits::default(),
            keep: &|path| kernel::is_wanted(path),
            sha1: false,
            xattrs: &|_| false,
            inspect: &mut |_| Ok(()),
        };
        let entries = archive::read_tar(archive::open(&package).expect("an .apk"), &mut spool, &mut options)
            .expect("a package");
        let tree = entries.into_tree(&spool.finish().expect("room"), &Origin::skeleton());
        let kernel = kernel::from_package(&tree, Arch::X86_64, &MODULES).expect("a kernel package");
        fs_err::write(scratch.join("kernel"), kernel.image.read(1 << 30).expect("a kernel")).expect("room");
        Some(Self { scratch, kernel, lister, guest })
    }

    /// Writes the initramfs: what is unpacked `before` the guest's own files.
    fn initramfs(&self, jobs: String, before: Option<&Path>, root: Metadata) {
        let mut tree = Tree::new();
        tree.insert(TreePath::root(), Node::directory(root, Origin::skeleton()));
        for place in ["dev", "sys", "mnt"] {
            let directory = Node::directory(Metadata::DIRECTORY, Origin::skeleton());
            tree.insert_with_parents(path(&format!(".guest/{place}")), directory);
        }
        let mut add = |place: &str, content, metadata| {
            let place = path(&format!(".guest/{place}"));
            tree.insert_with_parents(place, Node::file(content, metadata, Origin::skeleton()));
        };
        for (place, program) in [("init", &self.guest), ("lister", &self.lister)] {
            let content = fs_err::read(program).expect("it was compiled");
            add(place, Content::from_bytes(content), Metadata::PROGRAM);
        }
        let mut modules = String::new();
        for (place, content) in &self.kernel.modules {
            writeln!(modules, "/.guest{place}").expect("memory");
            add(&place.to_string(), content.clone(), Metadata::FILE);
        }
        let options = format!("--blocks-over\n{BLOCKS_OVER}\n");
        for (place, text) in [("modules", modules), ("jobs", jobs), ("lister-options", options)] {
            add(place, Content::from_bytes(text.into_bytes()), Metadata::FILE);
        }
        let mut file = fs_err::File::create(self.scratch.join("initramfs")).expect("room");
        if let Some(before) = before {
            let mut archive = fs_err::File::open(before).expect("an archive");
            let length = std::io::copy(&mut archive, &mut file).expect("room");
            // A compressed archive ends anywhere, and the next one begins at a multiple of 4.
            let beyond = length.next_multiple_of(4) - length;
            file.write_all(&[0; 4][..usize::try_from(beyond).expect("small")]).expect("room");
        }
        cpio::write(&tree.validate().expect("a good tree"), &mut file).expect("an archive");
    }

    fn boot(&self, drives: &[Drive<'_>], count: usize) -> Vec<Seen> {
        let [report, console] = ["report", "console"].map(|name| self.scratch.join(name));
        let mut command = Command::new(QEMU);
        command
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-m",
                "1024",
                "-display",
                "none",
                "-no-reboot",
                "-nodefaults",
            ])
            .args(["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=report,name=report"])
            .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check rdinit=/.guest/init"])
            .arg("-kernel")
            .arg(self.scratch.join("kernel"))
            .arg("-initrd")
            .arg(self.scratch.join("initramfs"));
        for (chardev, file) in [("report", &report), ("console", &console)] {
            command.arg("-chardev").arg(format!("file,id={chardev},path={}", quoted(file)));
        }
        command.args(["-serial", "chardev:console"]);
        for (number, drive) in drives.iter().enumerate() {
            let read_only = if drive.change { "off" } else { "on" };
            let image = quoted(drive.image);
            command
                .arg("-drive")
                .arg(format!(
                    "if=none,id=drive{number},format=raw,readonly={read_only},cache=unsafe,file={image}"
                ))
                .arg("-device")
                .arg(format!("virtio-blk-pci,drive=drive{number},serial=image{number}"));
        }
        let mut child = command.stdin(Stdio::null()).spawn().expect("QEMU starts");
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("it was started") {
                break Some(status);
            }
            if started.elapsed() > MOST_WAIT {
                drop(child.kill());
                drop(child.wait());
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let console = String::from_utf8_lossy(&fs_err::read(console).unwrap_or_default()).into_owned();
        let report = String::from_utf8(fs_err::read(report).unwrap_or_default()).expect("it is ASCII");
        let Some(seen) = parsed(&report, count) else {
            let end = report.get(report.len().saturating_sub(300)..).unwrap_or_default();
            panic!(
                "the guest did not end well ({status:?}); its report ends with {end:?}, the console:\n{console}"
            );
        };
        seen
    }
}

/// A file's name in an option of QEMU, where commas are doubled.
fn quoted(file: &Path) -> String {
    file.to_str().expect("temporary directories have plain names").replace(',', ",,")
}

/// What the guest's report says of each image; none when it isn't whole.
fn parsed(report: &str, count: usize) -> Option<Vec<Seen>> {
    let mut all = Vec::new();
    let mut seen = Seen::default();
    let mut lines = report.lines();
    for line in lines.by_ref() {
        let Some(word) = line.strip_prefix("== ") else {
            seen.listing.push_str(line);
            seen.listing.push('\n');
            continue;
        };
        if word == "done" {
            break;
        } else if word.starts_with("begin ") {
            seen = Seen::default();
        } else if let Some(milliseconds) = word.strip_prefix("took ") {
            println!("image {} took the guest {milliseconds} ms", all.len());
        } else if word.starts_with("end ") {
            all.push(std::mem::take(&mut seen));
        } else {
            seen.complaints.push(word.to_owned());
        }
    }
    (report.ends_with("== done\n") && lines.next().is_none() && all.len() == count).then_some(all)
}

fn package() -> Option<PathBuf> {
    let mirror = match std::env::var_os("LEANFS_TEST_MIRROR") {
        Some(directory) => PathBuf::from(directory),
        None => bench::Mirror::shared()?.directory,
    };
    fs_err::read_dir(mirror.join("v3.23/main/x86_64"))
        .expect("a mirror has it")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("linux-virt-")))
        .or_else(|| bench::missing("linux-virt in the mirror"))
}

#[test]
fn a_report_is_read_whole_or_not_at_all() {
    let report = "== begin image0\nd0755 0:0 0 - /\n== end image0\n== begin image1\n== kernel EXT4-fs error\n\
                  == failed mounting ext4 at /mnt: Invalid argument\n== took 7\n== end image1\n== done\n";
    let seen = parsed(report, 2).expect("whole");
    assert_eq!(seen[0].listing, "d0755 0:0 0 - /\n");
    assert!(seen[0].complaints.is_empty());
    assert_eq!(
        seen[1].complaints,
        ["kernel EXT4-fs error", "failed mounting ext4 at /mnt: Invalid argument"]
    );
    assert!(parsed(report, 3).is_none());
    assert!(parsed(&report.replace("== done\n", ""), 2).is_none());
}
