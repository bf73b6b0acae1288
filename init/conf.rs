//! `/etc/leanfs/init.conf`, version 1. The format's description is in `src/layer/init_conf.rs`, beside the code
//! that writes it.

use alloc::vec::Vec;

use crate::device::Wanted;

/// What is wrong with a word that should name a device.
pub const DEVICE: &str = "it takes /dev/NAME, LABEL=, UUID=, PARTLABEL= or PARTUUID=";

/// What the file says. No byte string in it holds a NUL byte.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Conf {
    pub hostname: Option<Vec<u8>>,
    /// In load order.
    pub modules: Vec<Vec<u8>>,
    /// That this is only the way to the root, and where that is if the command line doesn't say it.
    pub root: Option<Option<Wanted>>,
    /// Where the data is, and where it is mounted.
    pub data: Option<(Wanted, Vec<u8>)>,
    /// `NAME=VALUE`.
    pub env: Vec<Vec<u8>>,
    /// Sources and targets.
    pub copies: Vec<(Vec<u8>, Vec<u8>)>,
    pub directory: Option<Vec<u8>>,
    pub helpers: Vec<Helper>,
    pub program: Option<Vec<u8>>,
    /// `argv[0]` first.
    pub arguments: Vec<Vec<u8>>,
    pub on_exit: Option<OnExit>,
    /// Lines that say nothing that is known.
    pub warnings: Vec<Warning>,
}

/// A program that is started before the main one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Helper {
    pub program: Vec<u8>,
    /// `argv[0]` first.
    pub arguments: Vec<Vec<u8>>,
}

/// A line that is ignored.
#[derive(Debug, PartialEq, Eq)]
pub struct Warning {
    /// From 1 on.
    pub line: usize,
    pub what: &'static str,
}

/// What happens when the program has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    PowerOff,
    Reboot,
    Halt,
}

impl OnExit {
    /// Its word in the file and on the command line.
    pub fn parse(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"poweroff" => Self::PowerOff,
            b"reboot" => Self::Reboot,
            b"halt" => Self::Halt,
            _ => return None,
        })
    }
}

/// Takes the file's bytes. A line that makes no sense is a warning, and the others still count.
pub fn parse(text: &[u8]) -> Conf {
    let mut conf = Conf::default();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = trim(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if let Err(what) = take(&mut conf, line) {
            conf.warnings.push(Warning { line: index + 1, what });
        }
    }
    conf
}

fn take(conf: &mut Conf, line: &[u8]) -> Result<(), &'static str> {
    if line.contains(&0) {
        return Err("it holds a NUL byte");
    }
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let key = words.next().unwrap_or_default();
    let words: Vec<Vec<u8>> = words.map(unescape).collect::<Result<_, _>>()?;
    match key {
        b"hostname" => conf.hostname = Some(one(words)?),
        b"module" => conf.modules.push(one(words)?),
        b"root" => match <[Vec<u8>; 1]>::try_from(words) {
            Ok([wanted]) => conf.root = Some(Some(Wanted::parse(&wanted).ok_or(DEVICE)?)),
            Err(words) if words.is_empty() => conf.root = Some(None),
            Err(_) => return Err("`root` takes one word or none"),
        },
        b"data" => match <[Vec<u8>; 2]>::try_from(words) {
            Ok([wanted, place]) => conf.data = Some((Wanted::parse(&wanted).ok_or(DEVICE)?, place)),
            Err(_) => return Err("`data` takes two words"),
        },
        b"env" => {
            let entry = one(words)?;
            if !entry.contains(&b'=') || entry.starts_with(b"=") {
                return Err("`env` takes NAME=VALUE");
            }
            conf.env.push(entry);
        }
        b"copy" => match <[Vec<u8>; 2]>::try_from(words) {
            Ok([source, target]) => conf.copies.push((source, target)),
            Err(_) => return Err("`copy` takes two words"),
        },
        b"directory" => conf.directory = Some(one(words)?),
        b"helper" => {
            let mut words = words.into_iter();
            let program = words.next().ok_or("`helper` takes a program and its arguments")?;
            conf.helpers.push(Helper { program, arguments: words.collect() });
        }
        b"exec" => conf.program = Some(one(words)?),
        b"arg" => conf.arguments.push(one(words)?),
        b"on-exit" => {
            let on_exit = OnExit::parse(&one(words)?).ok_or("`on-exit` takes poweroff, reboot or halt")?;
            conf.on_exit = Some(on_exit);
        }
        _ => return Err("its key is not known"),
    }
    Ok(())
}

fn one(words: Vec<Vec<u8>>) -> Result<Vec<u8>, &'static str> {
    <[Vec<u8>; 1]>::try_from(words).map(|[word]| word).map_err(|_| "its key takes one word")
}

fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = line {
        line = rest;
    }
    line
}

fn unescape(word: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut plain = Vec::with_capacity(word.len());
    let mut bytes = word.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => plain.push(b'\\'),
            Some(b'n') => plain.push(b'\n'),
            Some(b's') => plain.push(b' '),
            Some(b'e') => {}
            _ => return Err("a backslash in it is followed by none of \\, n, s and e"),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key() {
        let conf = parse(
            b"# leanfs init.conf 1\n\n hostname web.local \nmodule /lib/a.ko\nmodule /lib/b.ko\nroot UUID=0A\ndata LABEL=a\\sb /data\nenv A=b\\sc\\\\\n\
              copy /a\\sb /run/c/d\ndirectory /app\nhelper /bin/epmd epmd -daemon \\e\nexec /bin/beam\narg beam\n\
              arg --\narg \\e\narg a\\nb\non-exit halt\n",
        );
        let bytes = |text: &[&str]| text.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(
            conf,
            Conf {
                hostname: Some(b"web.local".to_vec()),
                modules: bytes(&["/lib/a.ko", "/lib/b.ko"]),
                root: Some(Some(Wanted::Uuid(b"0a".to_vec()))),
                data: Some((Wanted::Label(b"a b".to_vec()), b"/data".to_vec())),
                env: bytes(&["A=b c\\"]),
                copies: Vec::from([(b"/a b".to_vec(), b"/run/c/d".to_vec())]),
                directory: Some(b"/app".to_vec()),
                helpers: Vec::from([Helper {
                    program: b"/bin/epmd".to_vec(),
                    arguments: bytes(&["epmd", "-daemon", ""]),
                }]),
                program: Some(b"/bin/beam".to_vec()),
                arguments: bytes(&["beam", "--", "", "a\nb"]),
                on_exit: Some(OnExit::Halt),
                warnings: Vec::new(),
            }
        );
    }

    #[test]
    fn lines_that_make_no_sense_are_warnings_and_the_rest_counts() {
        for (line, what) in [
            ("colour red", "its key is not known"),
            ("exec", "its key takes one word"),
            ("arg a b", "its key takes one word"),
            ("env A", "`env` takes NAME=VALUE"),
            ("env =A", "`env` takes NAME=VALUE"),
            ("copy a", "`copy` takes two words"),
            ("root vda", DEVICE),
            ("root /dev/vda ext4", "`root` takes one word or none"),
            ("data LABEL=x", "`data` takes two words"),
            ("data x /data", DEVICE),
            ("helper", "`helper` takes a program and its arguments"),
            ("on-exit explode", "`on-exit` takes poweroff, reboot or halt"),
            ("arg \\x", "a backslash in it is followed by none of \\, n, s and e"),
            ("arg \\", "a backslash in it is followed by none of \\, n, s and e"),
            ("arg \0", "it holds a NUL byte"),
        ] {
            let conf = parse(alloc::format!("directory /a\n{line}\nhostname h").as_bytes());
            assert_eq!(conf.warnings, [Warning { line: 2, what }], "{line}");
            assert_eq!((conf.directory, conf.hostname), (Some(b"/a".to_vec()), Some(b"h".to_vec())));
        }
    }

    /// `leanfs` is here because this is a test of `xtask`.
    #[test]
    fn what_leanfs_writes_is_read_back() {
        use leanfs::layer::{init_conf, start::StartPlan};
        use leanfs::recipe::{OnExit as WrittenOnExit, RunSettings};
        let path = |text: &str| text.parse::<leanfs::tree::TreePath>().expect("a path");
        let words: Vec<Vec<u8>> = [
            &b""[..],
            b" ",
            b"\\",
            b"\n",
            b"\\n",
            b"# a",
            b"a  b ",
            b"\r",
            b"\t",
            b"\xc3\xa4\xff",
            b"\"'$x*\"",
        ]
        .map(<[u8]>::to_vec)
        .into();
        let plan = StartPlan {
            program: path("a b/c\\d"),
            arguments: words.clone(),
            env: [("A".into(), " b\n\\".into()), ("B".into(), "".into())].into(),
            copies: [(path("a\nb"), path("c d"))].into(),
            directory: path("/"),
            helpers: [(path("bin/x y"), words.clone())].into(),
            needs_shell: None,
            notes: Vec::new(),
            files: Vec::new(),
            links: Vec::new(),
            programs: Vec::new(),
        };
        for (on_exit, expected) in [
            (WrittenOnExit::PowerOff, OnExit::PowerOff),
            (WrittenOnExit::Reboot, OnExit::Reboot),
            (WrittenOnExit::Halt, OnExit::Halt),
        ] {
            let mut run = RunSettings::default();
            run.on_exit = on_exit;
            let conf = parse(&init_conf::render(&plan, &run, &[path("lib/m o.ko")], None));
            let expected = Conf {
                hostname: Some(b"leanfs.local".to_vec()),
                modules: Vec::from([b"/lib/m o.ko".to_vec()]),
                root: None,
                data: None,
                env: Vec::from([b"A= b\n\\".to_vec(), b"B=".to_vec()]),
                copies: Vec::from([(b"/a\nb".to_vec(), b"/c d".to_vec())]),
                directory: Some(b"/".to_vec()),
                helpers: Vec::from([Helper { program: b"/bin/x y".to_vec(), arguments: words.clone() }]),
                program: Some(b"/a b/c\\d".to_vec()),
                arguments: words.clone(),
                on_exit: Some(expected),
                warnings: Vec::new(),
            };
            assert_eq!(conf, expected);
        }
    }
}
