use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::*;

fn written(disk: &Content, settings: &Settings) -> Vec<u8> {
    let file = tempfile::tempfile().expect("a file");
    let length = write(disk, settings, Target::new(&file)).expect("written");
    assert_eq!(file.metadata().expect("there").len(), length);
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(*bytes[at..].first_chunk().expect("8 bytes"))
}

/// Some clusters that compress well, some that don't, and holes.
fn sample() -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut disk = vec![0; 40 * CLUSTER as usize + 512];
    for (number, cluster) in disk.chunks_mut(CLUSTER as usize).enumerate() {
        for (index, byte) in cluster.iter_mut().enumerate() {
            *byte = match number % 4 {
                0 => (index / 100 + number) as u8,
                1 => noise(),
                2 if number % 8 == 2 => (index / 3) as u8 ^ noise() & 1,
                _ => 0,
            };
        }
    }
    disk
}

/// The disk in a file, by a reader of its own that knows only the specification.
fn read_back(file: &[u8]) -> Vec<u8> {
    let size = number(file, 24) as usize;
    let mut disk = vec![0; size];
    let first_level = number(file, 40) as usize;
    for (cluster, bytes) in disk.chunks_mut(CLUSTER as usize).enumerate() {
        let table = number(file, first_level + cluster / ENTRIES as usize * 8) & !COPIED;
        if table == 0 {
            continue;
        }
        let entry = number(file, table as usize + cluster % ENTRIES as usize * 8);
        if entry & COMPRESSED != 0 {
            let offset = (entry & ((1 << SECTORS_SHIFT) - 1)) as usize;
            let sectors = ((entry & !COMPRESSED) >> SECTORS_SHIFT) + 1;
            let packed = &file[offset..(offset / 512 + sectors as usize) * 512];
            let mut plain = vec![0; CLUSTER as usize];
            if file[104] == 1 {
                let mut decoder = zstd::Decoder::new(packed).expect("a decoder").single_frame();
                decoder.read_exact(&mut plain).expect("decompressed");
            } else {
                let mut inflate = flate2::Decompress::new_with_window_bits(false, ZLIB_WINDOW_BITS);
                inflate.decompress(packed, &mut plain, flate2::FlushDecompress::None).expect("decompressed");
                assert_eq!(inflate.total_out(), CLUSTER);
            }
            bytes.copy_from_slice(&plain[..bytes.len()]);
        } else if entry != 0 {
            assert_eq!(entry & COPIED, COPIED);
            let offset = (entry & !COPIED) as usize;
            bytes.copy_from_slice(&file[offset..offset + bytes.len()]);
        }
    }
    disk
}

const COMPRESSIONS: [ClusterCompression; 3] = [
    ClusterCompression::None,
    ClusterCompression::Zlib { level: None },
    ClusterCompression::Zstd { level: Some(3) },
];

#[test]
fn what_is_written_comes_back_whatever_the_threads() {
    let disk = sample();
    let content = Content::from_bytes(disk.clone());
    let mut sizes = Vec::new();
    for compression in COMPRESSIONS {
        let file = written(&content, &Settings { compression, threads: 1 });
        assert!(read_back(&file) == disk, "{compression:?}");
        for threads in [0, 2, 5] {
            assert!(written(&content, &Settings { compression, threads }) == file, "{compression:?}");
        }
        sizes.push(file.len() / CLUSTER as usize);
    }
    // 27 clusters are not zero; header, a table of each level and of counts, and their block.
    assert_eq!(sizes[0], 26 + 5);
    assert!(sizes[1] < sizes[0] - 8 && sizes[2] < sizes[0] - 8, "{sizes:?}");
}

#[test]
fn holes_are_known_by_what_they_hold() {
    let sparse = tempfile::tempfile().expect("a file");
    sparse.set_len(3 * CLUSTER).expect("sized");
    sparse.write_all_at(b"x", CLUSTER + 5).expect("written");
    let mut bytes = vec![0; 3 * CLUSTER as usize];
    bytes[CLUSTER as usize + 5] = b'x';
    let in_memory = written(&Content::from_bytes(bytes), &Settings::default());
    let content = Content::from_range(Arc::new(sparse), 0, 3 * CLUSTER);
    assert!(written(&content, &Settings::default()) == in_memory);
    assert_eq!(in_memory.len(), 6 * CLUSTER as usize);
}

/// Tables of the second level stand where there is data only.
#[test]
fn large_disks_take_no_room() {
    let sparse = tempfile::tempfile().expect("a file");
    let size = 3 * ENTRIES * CLUSTER;
    sparse.set_len(size).expect("sized");
    sparse.write_all_at(b"end", size - 3).expect("written");
    let file = written(&Content::from_range(Arc::new(sparse), 0, size), &Settings::default());
    assert_eq!(file.len(), 6 * CLUSTER as usize);
    let first_level = number(&file, 40) as usize;
    let entries: Vec<u64> = (0..3).map(|index| number(&file, first_level + 8 * index)).collect();
    assert_eq!(entries, [0, 0, COPIED | (2 * CLUSTER)]);
    assert_eq!(number(&file, 2 * CLUSTER as usize + 8 * 8191), COPIED | CLUSTER);
}

#[test]
fn reference_counts_count_themselves() {
    let file = tempfile::tempfile().expect("a file");
    // Just as many clusters as a block counts, but for those that the counts take.
    for (before, blocks) in [(REFCOUNTS_A_BLOCK - 2, 1), (REFCOUNTS_A_BLOCK - 1, 2), (REFCOUNTS_A_BLOCK, 2)] {
        let mut made = File { target: Target::new(&file), refcounts: vec![1; before as usize], tail: 0 };
        let (place, tables) = made.refcounts().expect("written");
        assert_eq!((place, tables), ((before + blocks) * CLUSTER, 1));
        assert_eq!(made.refcounts.len() as u64, before + blocks + 1);
    }
}

#[test]
fn compressed_clusters_share_and_go_round_others() {
    let file = tempfile::tempfile().expect("a file");
    let mut made = File { target: Target::new(&file), refcounts: vec![1], tail: 0 };
    let mut put = |length: usize| made.compressed(&vec![1; length]).expect("written");
    let entry = |offset: u64, sectors: u64| COMPRESSED | sectors << SECTORS_SHIFT | offset;
    assert_eq!(put(700), entry(CLUSTER, 1));
    assert_eq!(put(65_000), entry(CLUSTER + 700, 127), "over the end, as nothing is there");
    let tail = CLUSTER + 65_700;
    assert_eq!(made.plain(&[2; CLUSTER as usize]).expect("written"), COPIED | (3 * CLUSTER));
    let mut put = |length: usize| made.compressed(&vec![1; length]).expect("written");
    assert_eq!(put(300), entry(tail, 0));
    assert_eq!(put(65_000), entry(tail + 300, 127));
    assert_eq!(put(65_000), entry(4 * CLUSTER, 126), "it would lie over the other one");
    assert_eq!(put(536), entry(4 * CLUSTER + 65_000, 1));
    assert_eq!(put(1), entry(5 * CLUSTER, 0), "the last cluster is full to its end");
    assert_eq!(made.refcounts, [1, 2, 3, 1, 2, 1]);
}

#[test]
fn what_can_not_be_is_refused() {
    let file = tempfile::tempfile().expect("a file");
    let sized = |length| Content::from_path("/nowhere", length);
    let with = |compression| Settings { compression, threads: 1 };
    for (content, settings, reason) in [
        (sized(513), Settings::default(), "multiple of 512"),
        (sized(u64::MAX - 511), Settings::default(), "up to 2251799813685248"),
        (sized(512), with(ClusterCompression::Zlib { level: Some(10) }), "level 10 of zlib"),
        (sized(512), with(ClusterCompression::Zstd { level: Some(0) }), "level 0 of zstd"),
        (sized(512), Settings::default(), "the raw disk can't be read"),
    ] {
        let error = write(&content, &settings, Target::new(&file)).expect_err(reason);
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(file.metadata().expect("there").len(), 0);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let host = directory.path().join("disk");
    fs_err::write(&host, vec![1; 1025]).expect("written");
    for wrong in [512, 1536] {
        let error = write(&Content::from_path(&host, wrong), &Settings::default(), Target::new(&file))
            .expect_err("another length");
        assert!(matches!(error, ImageError::Input { .. }), "{error}");
    }
}

/// Every level, with clusters from noise to text: what is kept comes back.
#[test]
fn every_level_of_zlib() {
    let mut state = 1_u64;
    for level in 1..=9 {
        let mut compressor =
            Compressor::new(ClusterCompression::Zlib { level: Some(level) }).expect("set up");
        for noisy in 0..=16 {
            let cluster: Vec<u8> = (0..CLUSTER as usize)
                .map(|index| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    if index % 16 < noisy { (state >> 56) as u8 } else { b'x' }
                })
                .collect();
            let Some(packed) = compressor.compress(&cluster).expect("compressed") else {
                assert!(noisy >= 14, "{noisy} of 16 at level {level}");
                continue;
            };
            let mut plain = Vec::with_capacity(cluster.len());
            flate2::Decompress::new_with_window_bits(false, ZLIB_WINDOW_BITS)
                .decompress_vec(&packed, &mut plain, flate2::FlushDecompress::None)
                .expect("decompressed");
            assert!(plain == cluster, "{noisy} of 16 at level {level}");
        }
    }
}
