//! What files hold.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use leanfs::tree::{Content, NodeKind};

use super::{Maker, noise};

pub(super) fn sizes(maker: &mut Maker) {
    let mut sizes = vec![0, 1, 2, 3, 60, 100, 160];
    for border in [512, 1024, 4096, 8192, 16_384, 65_536, 131_072, 262_144, 1 << 20] {
        sizes.extend([border - 1, border, border + 1]);
    }
    // Blocks with a tail.
    sizes.extend([4096 + 100, 3 * 4096 - 100, 131_072 + 4095, 3 * 131_072 + 5, (1 << 20) + 50_000]);
    for size in sizes {
        maker.file(&format!("sizes/{size}.noise"), &noise(size as u64, size));
        let text: Vec<u8> =
            (0..).flat_map(|line| format!("{size}: line {line}\n").into_bytes()).take(size).collect();
        maker.file(&format!("sizes/{size}.text"), &text);
    }
}

pub(super) fn zeros(maker: &mut Maker) {
    for block in [4096, 131_072] {
        let data = noise(block as u64, block);
        let zero = vec![0; block];
        let short = &data[..100];
        let cases: [(&str, &[&[u8]]); 14] = [
            ("alone", &[&zero]),
            ("four", &[&zero, &zero, &zero, &zero]),
            ("with a short tail", &[&zero, &zero[..1]]),
            ("before data", &[&zero, &data]),
            ("before a tail", &[&zero, short]),
            ("after data", &[&data, &zero]),
            ("a tail after data", &[&data, &zero[..77]]),
            ("between data", &[&data, &zero, &data]),
            ("two between data", &[&data, &zero, &zero, &data]),
            ("around data", &[&zero, &data, &zero]),
            ("across a border", &[&data[..block / 2], &zero, &data[..block / 2]]),
            ("by turns", &[&zero, &data, &zero, &data, &zero, &data, &zero, &data, &zero, &data, &zero]),
            ("and one byte", &[&zero, &zero, b"x"]),
            ("but for the last byte", &[&zero[1..], b"x"]),
        ];
        for (name, parts) in cases {
            maker.file(&format!("zeros/{block} {name}"), &parts.concat());
        }
        // As many extents as an inode has no room for.
        let many: Vec<u8> = (0..64).flat_map(|_| [&data[..4096], &[0; 4096]]).flatten().copied().collect();
        maker.file(&format!("zeros/{block} by many turns"), &many);
    }
    for size in [1, 511, 4095, 4097, 100_000, (1 << 20) + 1] {
        maker.file(&format!("zeros/only {size}"), &vec![0; size]);
    }
}

pub(super) fn sparse(maker: &mut Maker) {
    const GIB: u64 = 1 << 30;
    const ALL_HOLE: u64 = 64 << 20;
    let length = if maker.is_full() { 5 * GIB + 12_345 } else { 300 << 20 };
    // In memory where /tmp is, and in a file without a name anyway: holes take no room.
    let file = tempfile::tempfile().expect("room");
    let mut places = vec![1, 4095, (1 << 17) - 1, (1 << 22) + 7, (200 << 20) + 4096, length - 1];
    if maker.is_full() {
        // Around what 31 and 32 bits can say.
        places.extend([2 * GIB - 1, 2 * GIB + 5000, 4 * GIB - 1, 4 * GIB + 4096]);
    }
    for place in places {
        let bytes = if place == length - 1 { &b"e"[..] } else { b"data" };
        file.write_all_at(bytes, place).expect("room");
    }
    file.set_len(length).expect("room");
    maker.add("sparse/data", NodeKind::File(Content::from_range(Arc::new(file), 0, length)));
    let file = tempfile::tempfile().expect("room");
    file.set_len(ALL_HOLE).expect("room");
    maker.add("sparse/hole", NodeKind::File(Content::from_range(Arc::new(file), 0, ALL_HOLE)));
}

pub(super) fn contents(maker: &mut Maker) {
    let large = if maker.is_full() { 40 << 20 } else { 4 << 20 };
    let noise = noise(7, large);
    let text: Vec<u8> =
        (0..).flat_map(|line: u64| format!("{:x} {line}\n", line * line).into_bytes()).take(large).collect();
    maker.file("contents/noise", &noise);
    maker.file("contents/text", &text);
    maker.file("contents/one byte again and again", &vec![b'a'; large]);
    // What may be stored once.
    maker.file("contents/noise again", &noise);
    maker.file("contents/noise and more", &[&noise[..], b"more"].concat());
    maker.file("contents/noise but for the end", &noise[..large - 5000]);
    maker.file("contents/noise from the middle", &noise[1 << 20..]);
    let mut changed = noise[..1 << 20].to_vec();
    changed[500_000] ^= 1;
    maker.file("contents/noise with a changed bit", &changed);
    maker.file("contents/a block twice", &noise[..131_072].repeat(2));
    maker.file("contents/a small block many times", &noise[..4096].repeat(40));
    for name in ["a", "b", "c"] {
        maker.file(&format!("contents/small and the same {name}"), b"small and the same");
        maker.file(&format!("contents/tails and the same {name}"), &noise[..131_072 + 700]);
    }
    // Compressible blocks and others by turns.
    let mixed: Vec<u8> = (0..8)
        .flat_map(|turn| if turn % 2 == 0 { &noise[turn << 17..(turn + 1) << 17] } else { &text[..1 << 17] })
        .copied()
        .collect();
    maker.file("contents/mixed", &mixed);
}
