//! Flags of the emulator that save time and memory, where the release's own flags say nothing.
//! What each does: <https://www.erlang.org/doc/apps/erts/erl_cmd.html>.

use crate::recipe::Profile;

/// A flag as the emulator takes it (`erlexec` makes `-S` of `+S`), and its value.
struct Flag {
    flag: &'static str,
    value: &'static str,
    /// Whether it is for every profile, or for [`Profile::Tiny`] only.
    everywhere: bool,
}

/// In the order in which they are added. OTP 25 knows all of them.
const FLAGS: [Flag; 10] = [
    // A scheduler without work sleeps at once instead of turning in circles: the processor is the host's, too.
    Flag { flag: "-sbwt", value: "none", everywhere: true },
    Flag { flag: "-sbwtdcpu", value: "none", everywhere: true },
    Flag { flag: "-sbwtdio", value: "none", everywhere: true },
    // One scheduler of each kind: every one has a thread, a stack and allocators of its own.
    Flag { flag: "-S", value: "1:1", everywhere: false },
    Flag { flag: "-SDcpu", value: "1:1", everywhere: false },
    Flag { flag: "-SDio", value: "1", everywhere: false },
    Flag { flag: "-A", value: "1", everywhere: false },
    // The tables of processes and ports have a fixed size.
    Flag { flag: "-P", value: "1024", everywhere: false },
    Flag { flag: "-Q", value: "1024", everywhere: false },
    // Allocators with as little as they can have.
    Flag { flag: "-Mea", value: "min", everywhere: false },
];

/// Adds what `profile` wants to the flags of the emulator; a flag that is there already, in whatever spelling, stays
/// what it is.
pub(super) fn add(flags: &mut Vec<Vec<u8>>, profile: Profile) {
    for Flag { flag, value, everywhere } in FLAGS {
        let wanted = match profile {
            Profile::None => false,
            Profile::Server => everywhere,
            Profile::Tiny => true,
        };
        if wanted && !flags.iter().any(|word| says(word, flag)) {
            flags.extend([flag, value].map(|word| word.as_bytes().to_vec()));
        }
    }
}

/// Whether a word sets a flag: `-S`, `-S4`, `-S:2`; but `-SDcpu` is another one.
fn says(word: &[u8], flag: &str) -> bool {
    let Some(rest) = word.strip_prefix(flag.as_bytes()) else { return false };
    match rest.first() {
        None => true,
        // `-Mea` and `-sbwt` have words as values, which may follow at once.
        Some(first) if first.is_ascii_alphabetic() => {
            ["min", "max", "config", "none", "very_short", "short", "medium", "long", "very_long"]
                .iter()
                .any(|value| rest == value.as_bytes())
        }
        Some(_) => true,
    }
}

/// In the profile that saves the most, modules are loaded when they are first called: the boot script of an embedded
/// system loads all of them, used or not. `chosen` says whether somebody chose the mode.
pub(super) fn load_when_called(flags: &mut [Vec<u8>], profile: Profile, chosen: bool) {
    if profile != Profile::Tiny || chosen {
        return;
    }
    let modes: Vec<usize> = (0..flags.len()).filter(|&index| flags[index] == b"-mode").collect();
    if let [only] = modes.as_slice()
        && let Some(mode) = flags.get_mut(only + 1)
        && mode == b"embedded"
    {
        *mode = b"interactive".to_vec();
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
        assert_eq!(added(&["-fnu"], Profile::Server), "-fnu -sbwt none -sbwtdcpu none -sbwtdio none");
        assert_eq!(
            added(&["-sbwt", "long", "-sbwtdcpunone"], Profile::Server),
            "-sbwt long -sbwtdcpunone -sbwtdio none"
        );
    }

    #[test]
    fn what_the_release_says_stays() {
        let all =
            "-sbwt none -sbwtdcpu none -sbwtdio none -S 1:1 -SDcpu 1:1 -SDio 1 -A 1 -P 1024 -Q 1024 -Mea min";
        assert_eq!(added(&[], Profile::Tiny), all);
        for (said, not_added) in [
            (&["-S", "4:2"][..], "-S 1:1 "),
            (&["-S4"], "-S 1:1 "),
            (&["-S:2"], "-S 1:1 "),
            (&["-P", "262144"], "-P 1024 "),
            (&["-Q65536"], "-Q 1024 "),
            (&["-Mea", "max"], " -Mea min"),
            (&["-Meamax"], " -Mea min"),
            (&["-SDcpu", "2:2"], "-SDcpu 1:1 "),
        ] {
            let want = format!("{} {}", said.join(" "), all.replace(not_added, ""));
            assert_eq!(added(said, Profile::Tiny), want);
        }
        // Scheduler percentages and timing are other flags.
        assert!(added(&["-SP", "50:50"], Profile::Tiny).contains("-S 1:1"));
    }

    #[test]
    fn the_mode_of_a_tiny_system() {
        let mode = |flags: &[&str], profile, chosen| {
            let mut flags: Vec<Vec<u8>> = flags.iter().map(|flag| flag.as_bytes().to_vec()).collect();
            load_when_called(&mut flags, profile, chosen);
            String::from_utf8(flags.join(&b' ')).expect("text")
        };
        let embedded = ["-noshell", "-mode", "embedded"];
        assert_eq!(mode(&embedded, Profile::Tiny, false), "-noshell -mode interactive");
        assert_eq!(mode(&embedded, Profile::Tiny, true), "-noshell -mode embedded");
        assert_eq!(mode(&embedded, Profile::Server, false), "-noshell -mode embedded");
        let twice = ["-mode", "embedded", "-mode", "embedded"];
        assert_eq!(mode(&twice, Profile::Tiny, false), "-mode embedded -mode embedded");
        assert_eq!(mode(&["-mode"], Profile::Tiny, false), "-mode");
    }
}
