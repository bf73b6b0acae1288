//! Flags of the emulator that save time and memory, where the release's own flags say nothing.
//! What each does: <https://www.erlang.org/doc/apps/erts/erl_cmd.html>.

use crate::recipe::Profile;

/// A flag as the emulator takes it (`erlexec` makes `-S` of `+S`), and its value.
struct Flag {
    flag: &'static str,
    value: &'static str,
    /// Whether it is for every profile, or for [`Profile::Tiny`] only.
    everywhere: bool,
    /// Flags that decide the same, or that this one would contradict: where one of them is there, this is not added.
    unless: &'static [&'static str],
}

/// In the order in which they are added. OTP 25 knows all of them.
const FLAGS: [Flag; 9] = [
    // A scheduler without work sleeps at once instead of turning in circles: the processor is the host's, too.
    Flag { flag: "-sbwt", value: "none", everywhere: true, unless: &[] },
    Flag { flag: "-sbwtdcpu", value: "none", everywhere: true, unless: &[] },
    Flag { flag: "-sbwtdio", value: "none", everywhere: true, unless: &[] },
    // One scheduler of each kind: every one has a thread, a stack and allocators of its own. There are never more
    // dirty schedulers than others.
    Flag { flag: "-S", value: "1:1", everywhere: false, unless: &["-SP", "-SDcpu", "-SDPcpu"] },
    Flag { flag: "-SDcpu", value: "1:1", everywhere: false, unless: &["-SDPcpu"] },
    Flag { flag: "-SDio", value: "1", everywhere: false, unless: &[] },
    // The tables of processes and ports have a fixed size.
    Flag { flag: "-P", value: "1024", everywhere: false, unless: &[] },
    Flag { flag: "-Q", value: "1024", everywhere: false, unless: &[] },
    // One instance of each allocator for all threads, which is no loss where one scheduler runs. (Without allocators of
    // its own, `-Mea min`, the emulator could not tell how much memory it uses: `erlang:memory` fails then.)
    Flag { flag: "-Mut", value: "false", everywhere: false, unless: &["-S", "-SP", "-M"] },
];

/// Puts what `profile` wants in front of the flags of the emulator, so that what the release says comes later and wins; a
/// flag that is there already, in whatever spelling, is not added.
pub(super) fn add(flags: &mut Vec<Vec<u8>>, profile: Profile) {
    let mut added = Vec::new();
    for Flag { flag, value, everywhere, unless } in FLAGS {
        let wanted = match profile {
            Profile::None => false,
            Profile::Server => everywhere,
            Profile::Tiny => true,
        };
        let is_said = |flag: &str| flags.iter().any(|word| says(word, flag));
        if wanted && !is_said(flag) && !unless.iter().any(|flag| is_said(flag)) {
            added.extend([flag, value].map(|word| word.as_bytes().to_vec()));
        }
    }
    flags.splice(0..0, added);
}

/// Whether a word sets a flag: `-S`, `-S4`, `-S:2`; but `-SDcpu` is another one. Every flag for allocators begins with
/// `-M`.
fn says(word: &[u8], flag: &str) -> bool {
    let Some(rest) = word.strip_prefix(flag.as_bytes()) else { return false };
    match rest.first() {
        Some(first) if first.is_ascii_alphabetic() && flag != "-M" => {
            // Words as values may follow at once.
            ["none", "very_short", "short", "medium", "long", "very_long", "legacy", "true", "false"]
                .iter()
                .any(|value| rest == value.as_bytes())
        }
        _ => true,
    }
}

/// How code is loaded unless somebody says it: in the profile that saves the most when it is first called, since the boot
/// script of an embedded system loads every module, used or not.
pub(super) fn usual_mode(profile: Profile) -> &'static str {
    match profile {
        Profile::None | Profile::Server => "embedded",
        Profile::Tiny => "interactive",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(flags: &[&str], profile: Profile) -> String {
        let mut flags: Vec<Vec<u8>> = flags.iter().map(|flag| flag.as_bytes().to_vec()).collect();
        add(&mut flags, profile);
        String::from_utf8(flags.join(&b' ')).expect("text")
    }

    #[test]
    fn a_server_is_not_limited() {
        assert_eq!(added(&["-fnu"], Profile::None), "-fnu");
        assert_eq!(added(&["-fnu"], Profile::Server), "-sbwt none -sbwtdcpu none -sbwtdio none -fnu");
        assert_eq!(
            added(&["-sbwt", "long", "-sbwtdcpunone"], Profile::Server),
            "-sbwtdio none -sbwt long -sbwtdcpunone"
        );
    }

    #[test]
    fn what_the_release_says_stays() {
        let all =
            "-sbwt none -sbwtdcpu none -sbwtdio none -S 1:1 -SDcpu 1:1 -SDio 1 -P 1024 -Q 1024 -Mut false";
        assert_eq!(added(&[], Profile::Tiny), all);
        for (said, not_added) in [
            (&["-S", "4:2"][..], &["-S 1:1 ", " -Mut false"][..]),
            (&["-S4"], &["-S 1:1 ", " -Mut false"]),
            (&["-S:2"], &["-S 1:1 ", " -Mut false"]),
            (&["-SP", "50:50"], &["-S 1:1 ", " -Mut false"]),
            (&["-SDcpu", "2:2"], &["-S 1:1 ", "-SDcpu 1:1 "]),
            (&["-SDPcpu", "50"], &["-S 1:1 ", "-SDcpu 1:1 "]),
            (&["-P", "262144"], &["-P 1024 "]),
            (&["-Plegacy"], &["-P 1024 "]),
            (&["-Q65536"], &["-Q 1024 "]),
            (&["-MBas", "aobf"], &[" -Mut false"]),
            (&["-Mea", "max"], &[" -Mut false"]),
        ] {
            let rest = not_added.iter().fold(all.to_owned(), |rest, flag| rest.replace(flag, ""));
            assert_eq!(added(said, Profile::Tiny), format!("{rest} {}", said.join(" ")));
        }
    }
}
