//! Prints a directory on disk as `ValidTree::dump` prints a tree: one line a node, in byte order of whole paths.
//!
//! A program of its own, with nothing but `std` and statically linked, so that the same file runs on the host on
//! what a tool extracted and inside a guest on what a kernel mounted. It goes down by `chdir`, one name at a time:
//! paths longer than `PATH_MAX` and directories deeper than the limit of open files are no obstacle.
//!
//! What can't be read, and with `--strict` what contradicts itself, is a line that begins with `!`, which no dump
//! has; the program ends with 1 then.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt};
use std::path::Path;

const USAGE: &str = "\
usage: lister [OPTIONS] DIRECTORY
  --skip /PATH            leave this path out, and what is below it
  --without-xattr NAME    leave this extended attribute out
  --whole-seconds         leave fractions of seconds out, where there are any
  --blocks-over BYTES     of larger files, `SIZE:blocks:HASH` in place of `SIZE:HASH`: the SHA-256 of each block of
                          4,096 bytes that is not zero, after its number (8 bytes, little-endian)
  --strict                check link counts, what directories say of their entries, and that absent names are absent
";

/// What `xattr(7)` has as the largest list and the largest value.
const MOST_XATTR: usize = 65_536;
const BLOCK: usize = 4096;

unsafe extern "C" {
    fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize;
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize;
    fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64;
}

#[derive(Default)]
struct Options {
    skip: Vec<Vec<u8>>,
    without_xattrs: Vec<Vec<u8>>,
    whole_seconds: bool,
    blocks_over: Option<u64>,
    strict: bool,
}

fn main() {
    let (options, directory) = match arguments() {
        Some(parsed) => parsed,
        None => {
            eprint!("{USAGE}");
            std::process::exit(2);
        }
    };
    if let Err(error) = std::env::set_current_dir(&directory) {
        eprintln!("lister: {}: {error}", directory.display());
        std::process::exit(1);
    }
    let mut lister = Lister::new(options);
    lister.walk();
    let complaints = lister.complaints;
    if let Err(error) = lister.print() {
        eprintln!("lister: {error}");
        std::process::exit(1);
    }
    std::process::exit(i32::from(complaints > 0));
}

fn arguments() -> Option<(Options, std::path::PathBuf)> {
    let mut options = Options::default();
    let mut directory = None;
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_bytes() {
            b"--skip" => {
                options.skip.push(arguments.next()?.into_vec().strip_prefix(b"/")?.to_vec());
            }
            b"--without-xattr" => options.without_xattrs.push(arguments.next()?.into_vec()),
            b"--whole-seconds" => options.whole_seconds = true,
            b"--blocks-over" => options.blocks_over = Some(arguments.next()?.to_str()?.parse().ok()?),
            b"--strict" => options.strict = true,
            _ if directory.is_none() => directory = Some(argument.into()),
            _ => return None,
        }
    }
    Some((options, directory?))
}

struct Entry {
    path: Vec<u8>,
    /// Mode, owner and time, as they stand behind the letter.
    head: String,
    letter: char,
    what: String,
    xattrs: String,
    /// Regular files that may have further names.
    file: Option<(u64, u64)>,
    links: u64,
}

struct Child {
    name: OsString,
    said_type: Option<FileType>,
    said_inode: u64,
}

struct Lister {
    options: Options,
    entries: Vec<Entry>,
    /// What the contents of files with several names are.
    contents: BTreeMap<(u64, u64), String>,
    /// The parents of directories that were left out.
    skipped: Vec<Vec<u8>>,
    complaints: usize,
    buffer: Vec<u8>,
}

impl Lister {
    fn new(options: Options) -> Self {
        Self {
            options,
            entries: Vec::new(),
            contents: BTreeMap::new(),
            skipped: Vec::new(),
            complaints: 0,
            buffer: vec![0; 1 << 18],
        }
    }

    fn complain(&mut self, path: &[u8], what: impl std::fmt::Display) {
        self.complaints += 1;
        self.entries.push(Entry {
            path: path.to_vec(),
            head: String::new(),
            letter: '!',
            what: what.to_string(),
            xattrs: String::new(),
            file: None,
            links: 0,
        });
    }

    fn walk(&mut self) {
        let mut path = Vec::new();
        if let Err(error) = self.node(&path, Path::new(".")) {
            self.complain(&path, error);
        }
        // For each directory on the way: what is left of it, and how long its path is.
        let mut open = vec![(self.children(&path), 0)];
        while let Some((children, length)) = open.last_mut() {
            path.truncate(*length);
            let Some(child) = children.pop() else {
                open.pop();
                if !open.is_empty() {
                    if let Err(error) = std::env::set_current_dir("..") {
                        self.complain(&path, format_args!("its parent can't be entered: {error}"));
                        return;
                    }
                }
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(child.name.as_bytes());
            if self.options.skip.contains(&path) {
                if fs::symlink_metadata(&child.name).is_ok_and(|metadata| metadata.is_dir()) {
                    self.skipped.push(parent(&path).to_vec());
                }
                continue;
            }
            let metadata = match self.node(&path, Path::new(&child.name)) {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.complain(&path, error);
                    continue;
                }
            };
            if self.options.strict {
                if child.said_type.is_some_and(|said| said != metadata.file_type()) {
                    self.complain(&path, format_args!("its directory says that it is {:?}", child.said_type));
                }
                if child.said_inode != metadata.ino() {
                    self.complain(
                        &path,
                        format_args!(
                            "its directory says inode {}, and it has {}",
                            child.said_inode,
                            metadata.ino()
                        ),
                    );
                }
            }
            if metadata.is_dir() {
                if let Err(error) = std::env::set_current_dir(&child.name) {
                    self.complain(&path, format_args!("it can't be entered: {error}"));
                    continue;
                }
                let children = self.children(&path);
                open.push((children, path.len()));
            }
        }
    }

    /// What the current directory, whose path is given, holds; the last in byte order first.
    fn children(&mut self, path: &[u8]) -> Vec<Child> {
        let mut children = Vec::new();
        let entries = match fs::read_dir(".") {
            Ok(entries) => entries,
            Err(error) => {
                self.complain(path, format_args!("it can't be read: {error}"));
                return children;
            }
        };
        for entry in entries {
            match entry {
                Ok(entry) => children.push(Child {
                    said_type: entry.file_type().ok(),
                    said_inode: entry.ino(),
                    name: entry.file_name(),
                }),
                Err(error) => {
                    self.complain(path, format_args!("it can't be read: {error}"));
                    break;
                }
            }
        }
        children.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        if let Some(twice) = children.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let name = escaped(twice[0].name.as_bytes());
            self.complain(path, format_args!("it lists {name} twice"));
        }
        if self.options.strict {
            self.check_absent(path, &children);
        }
        children
    }

    /// Looks names up that the current directory does not have.
    fn check_absent(&mut self, path: &[u8], children: &[Child]) {
        let mut absent = vec![vec![1], vec![0xff; 255], b"no such name".to_vec()];
        for child in
            [children.first(), children.get(children.len() / 2), children.last()].into_iter().flatten()
        {
            let mut name = child.name.as_bytes().to_vec();
            if name.len() < 255 {
                name.push(1);
                absent.push(name);
            }
        }
        for name in absent {
            let name = OsString::from_vec(name);
            if children.iter().any(|child| child.name == name) {
                continue;
            }
            match fs::symlink_metadata(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.complain(
                        path,
                        format_args!("looking {} up in it: {error}", escaped(name.as_bytes())),
                    );
                }
                Ok(_) => {
                    self.complain(path, format_args!("it has {}, unlisted", escaped(name.as_bytes())));
                }
            }
        }
    }

    /// Takes down one node; `name` is what it is called in the current directory.
    fn node(&mut self, path: &[u8], name: &Path) -> io::Result<Metadata> {
        let metadata = fs::symlink_metadata(name)?;
        let kind = metadata.file_type();
        let device = || {
            let number = metadata.rdev();
            // As glibc's gnu_dev_major and gnu_dev_minor.
            let major = (number >> 8 & 0xfff) | (number >> 32 & !0xfff);
            let minor = (number & 0xff) | (number >> 12 & !0xff);
            format!("{}:{}", major as u32, minor as u32)
        };
        let mut file = None;
        let (letter, what) = if kind.is_dir() {
            ('d', "-".to_owned())
        } else if kind.is_file() {
            let key = (metadata.dev(), metadata.ino());
            file = (metadata.nlink() > 1 || self.options.strict).then_some(key);
            ('f', self.content(name, &metadata, file)?)
        } else if kind.is_symlink() {
            let target = fs::read_link(name)?.into_os_string();
            if self.options.strict && metadata.len() != target.as_bytes().len() as u64 {
                self.complain(path, format_args!("its size is {}", metadata.len()));
            }
            ('l', escaped(target.as_bytes()))
        } else if kind.is_char_device() {
            ('c', device())
        } else if kind.is_block_device() {
            ('b', device())
        } else if kind.is_fifo() {
            ('p', "-".to_owned())
        } else {
            ('s', "-".to_owned())
        };
        let xattrs = self.xattrs(name)?;
        let fraction = match metadata.mtime_nsec() {
            0 => String::new(),
            _ if self.options.whole_seconds => String::new(),
            fraction => format!(".{fraction:09}"),
        };
        let head = format!(
            "{:04o} {}:{} {}{fraction}",
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid(),
            metadata.mtime()
        );
        let links = metadata.nlink();
        self.entries.push(Entry { path: path.to_vec(), head, letter, what, xattrs, file, links });
        Ok(metadata)
    }

    fn content(&mut self, name: &Path, metadata: &Metadata, key: Option<(u64, u64)>) -> io::Result<String> {
        if let Some(known) = key.and_then(|key| self.contents.get(&key)) {
            return Ok(known.clone());
        }
        let size = metadata.len();
        let mut file = File::open(name)?;
        let text = if self.options.blocks_over.is_some_and(|most| size > most) {
            format!("{size}:blocks:{}", blocks(&mut file, size, &mut self.buffer)?)
        } else {
            format!("{size}:{}", whole(&mut file, size, &mut self.buffer)?)
        };
        if let Some(key) = key
            && metadata.nlink() > 1
        {
            self.contents.insert(key, text.clone());
        }
        Ok(text)
    }

    fn xattrs(&self, name: &Path) -> io::Result<String> {
        let path = CString::new(name.as_os_str().as_bytes())?;
        let mut list = vec![0_u8; MOST_XATTR];
        // SAFETY: the path ends with a NUL, and the buffer has as many bytes as are given.
        let length = unsafe { llistxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
        let length = match length {
            -1 => match io::Error::last_os_error() {
                // ENOTSUP: a file system without them.
                error if error.raw_os_error() == Some(95) => 0,
                error => return Err(told("its extended attributes can't be listed", &error)),
            },
            length => length as usize,
        };
        let mut names: Vec<&[u8]> =
            list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        let mut text = String::new();
        let mut value = vec![0_u8; if names.is_empty() { 0 } else { MOST_XATTR }];
        for name in names {
            if self.options.without_xattrs.iter().any(|other| other == name) {
                continue;
            }
            let c_name = CString::new(name)?;
            // SAFETY: both strings end with a NUL, and the buffer has as many bytes as are given.
            let length =
                unsafe { lgetxattr(path.as_ptr(), c_name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
            if length < 0 {
                let what = format!("its extended attribute {} can't be read", escaped(name));
                return Err(told(&what, &io::Error::last_os_error()));
            }
            let _ = write!(text, " {}={}", escaped(name), hex(&value[..length as usize]));
        }
        Ok(text)
    }

    /// Sorts, tells files from their further names, and writes.
    fn print(mut self) -> io::Result<()> {
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut first: BTreeMap<(u64, u64), (usize, u64)> = BTreeMap::new();
        let mut subdirectories: BTreeMap<&[u8], u64> = BTreeMap::new();
        for (place, entry) in self.entries.iter().enumerate() {
            if let Some(file) = entry.file {
                first.entry(file).or_insert((place, 0)).1 += 1;
            }
            if entry.letter == 'd' && !entry.path.is_empty() {
                *subdirectories.entry(parent(&entry.path)).or_default() += 1;
            }
        }
        for parent in &self.skipped {
            *subdirectories.entry(parent).or_default() += 1;
        }
        let mut output = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let mut contradictions = 0;
        for (place, entry) in self.entries.iter().enumerate() {
            let path = absolute(&entry.path);
            let Entry { head, letter, what, xattrs, links, .. } = entry;
            if *letter == '!' {
                writeln!(output, "! {path}: {what}")?;
                continue;
            }
            let (keeper, names) = entry.file.and_then(|file| first.get(&file).copied()).unwrap_or((place, 1));
            if keeper == place {
                writeln!(output, "{letter}{head} {what} {path}{xattrs}")?;
            } else {
                writeln!(output, "h{head} {} {path}{xattrs}", absolute(&self.entries[keeper].path))?;
            }
            let expected = match letter {
                'd' => 2 + subdirectories.get(&entry.path[..]).copied().unwrap_or(0),
                _ => names,
            };
            // A directory's 1 says that it is not counted.
            if self.options.strict && *links != expected && !(*letter == 'd' && *links == 1) {
                contradictions += 1;
                writeln!(output, "! {path}: its link count is {links} and should be {expected}")?;
            }
        }
        output.flush()?;
        if contradictions > 0 {
            std::process::exit(1);
        }
        Ok(())
    }
}

fn parent(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)]
}

fn told(what: &str, error: &io::Error) -> io::Error {
    io::Error::other(format!("{what}: {error}"))
}

/// The SHA-256 of the whole file; holes that the file system knows are not read.
fn whole(file: &mut File, size: u64, buffer: &mut [u8]) -> io::Result<String> {
    const ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let mut hash = Sha256::new();
    let mut position = 0;
    loop {
        let data = next_data(file, position, size)?;
        while position < data {
            let count = (data - position).min(ZEROS.len() as u64);
            hash.update(&ZEROS[..count as usize]);
            position += count;
        }
        // A file that is all hole is read at its end, where there is nothing more.
        let count = file.read(buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        position += count as u64;
    }
    same_size(position, size)?;
    Ok(hex(&hash.finish()))
}

/// The SHA-256 of the blocks that are not zero, each after its number.
fn blocks(file: &mut File, size: u64, buffer: &mut [u8]) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut position = 0;
    loop {
        let data = next_data(file, position, size)?;
        let mut start = data - data % BLOCK as u64;
        if data >= size {
            start = size;
        }
        file.seek(SeekFrom::Start(start))?;
        // Whole blocks, but for the file's last.
        let mut count = 0;
        while count < buffer.len() {
            match file.read(&mut buffer[count..])? {
                0 => break,
                more => count += more,
            }
        }
        position = start + count as u64;
        if count == 0 {
            break;
        }
        for (number, block) in buffer[..count].chunks(BLOCK).enumerate() {
            if !is_zero(block) {
                hash.update(&(start / BLOCK as u64 + number as u64).to_le_bytes());
                hash.update(block);
                hash.update(&[0; BLOCK][block.len()..]);
            }
        }
    }
    same_size(position, size)?;
    Ok(hex(&hash.finish()))
}

fn is_zero(block: &[u8]) -> bool {
    // SAFETY: any bytes are a valid integer.
    let (before, words, after) = unsafe { block.align_to::<u64>() };
    before.iter().chain(after).all(|&byte| byte == 0)
        && words.chunks(16).all(|part| part.iter().fold(0, |all, word| all | word) == 0)
}

/// Where the next byte stands that may be something else than zero; the file is read on from there.
fn next_data(file: &mut File, position: u64, size: u64) -> io::Result<u64> {
    const SEEK_DATA: c_int = 3;
    const ENXIO: i32 = 6;
    const EINVAL: i32 = 22;
    if position >= size {
        return Ok(position);
    }
    // SAFETY: the descriptor is open.
    let data = unsafe { lseek(file.as_raw_fd(), position as i64, SEEK_DATA) };
    if data >= 0 {
        return Ok(data as u64);
    }
    let error = io::Error::last_os_error();
    let next = match error.raw_os_error() {
        Some(ENXIO) => size,
        Some(EINVAL) => position,
        _ => return Err(error),
    };
    file.seek(SeekFrom::Start(next))
}

fn same_size(read: u64, size: u64) -> io::Result<()> {
    if read == size {
        return Ok(());
    }
    Err(io::Error::other(format!("its size is {size}, and it gives {read} bytes")))
}

fn absolute(path: &[u8]) -> String {
    format!("/{}", escaped(path))
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for &byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// SHA-256, by FIPS 180-4.
struct Sha256 {
    state: [u32; 8],
    pending: [u8; 64],
    count: usize,
    length: u64,
}

const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

impl Sha256 {
    fn new() -> Self {
        let state =
            [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
        Self { state, pending: [0; 64], count: 0, length: 0 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if self.count > 0 {
            let taken = bytes.len().min(64 - self.count);
            self.pending[self.count..self.count + taken].copy_from_slice(&bytes[..taken]);
            self.count += taken;
            bytes = &bytes[taken..];
            if self.count < 64 {
                return;
            }
            let block = self.pending;
            self.compress(&block);
        }
        let mut chunks = bytes.chunks_exact(64);
        for block in &mut chunks {
            self.compress(block.try_into().expect("64 bytes"));
        }
        let rest = chunks.remainder();
        self.pending[..rest.len()].copy_from_slice(rest);
        self.count = rest.len();
    }

    fn finish(mut self) -> [u8; 32] {
        let bits = self.length * 8;
        self.update(&[0x80]);
        while self.count != 56 {
            self.update(&[0]);
        }
        self.update(&bits.to_be_bytes());
        let mut hash = [0; 32];
        for (bytes, word) in hash.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        hash
    }

    fn compress(&mut self, block: &[u8; 64]) {
        let mut w = [0_u32; 64];
        for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes(bytes.try_into().expect("4 bytes"));
        }
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = self.state;
        for i in 0..64 {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = (e & f) ^ (!e & g);
            let t1 = h.wrapping_add(s1).wrapping_add(choice).wrapping_add(K[i]).wrapping_add(w[i]);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let majority = (a & b) ^ (a & c) ^ (b & c);
            let t2 = s0.wrapping_add(majority);
            h = g;
            g = f;
            f = e;
            e = d.wrapping_add(t1);
            d = c;
            c = b;
            b = a;
            a = t1.wrapping_add(t2);
        }
        for (word, new) in self.state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *word = word.wrapping_add(new);
        }
    }
}
