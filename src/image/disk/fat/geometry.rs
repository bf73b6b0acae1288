//! What lies where in a FAT volume: its size, the width of its table, and its boot sector.
//!
//! Source: Microsoft, FAT32 File System Specification 1.03, "Boot Sector and BPB", "FAT Data Structure" and "FAT32
//! FSInfo Sector Structure". A volume is its reserved sectors, two copies of the table, on FAT16 the root directory,
//! and clusters, which are counted from 2. Only the number of clusters says how wide the table's entries are.
//!
//! Pure: values in, bytes out.

/// The bytes of a sector.
pub(super) const SECTOR: u64 = 512;
/// The copies of the table.
pub(super) const TABLES: u64 = 2;
/// The first cluster's number.
pub(super) const FIRST_CLUSTER: u32 = 2;
/// Where FAT32 has the copy of its boot sector, and the sector with the numbers of free clusters behind it.
pub(super) const BACKUP_SECTOR: u64 = 6;

/// FAT16 has from 4,085 to 65,524 clusters. Some programs count wrongly at these borders: as the specification
/// recommends, they are kept away from by 16.
const FAT16_CLUSTERS: std::ops::RangeInclusive<u64> = 4085 + 16..=65_524 - 16;
/// FAT32 has at least 65,525; the uppermost numbers are marks.
const FAT32_CLUSTERS: std::ops::RangeInclusive<u64> = 65_525 + 16..=0x0fff_fff0;
/// Clusters of 32 KiB are the largest that everything reads.
const MOST_SECTORS_A_CLUSTER: u64 = 64;
/// Of FAT32, clusters of 4 KiB, until there are more of them than this (8 GiB).
const MANY_CLUSTERS: u64 = 1 << 21;
const FAT32_RESERVED: u64 = 32;
/// The data begins at a multiple of this many sectors (4 KiB), so that clusters of that size are pages.
const ALIGNMENT: u64 = 8;
const DIRECTORY_ENTRIES_A_SECTOR: u64 = SECTOR / super::names::ENTRY_BYTES as u64;

/// How wide the entries of the table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Fat16,
    Fat32,
}

impl Width {
    pub(super) fn entry_bytes(self) -> u64 {
        match self {
            Self::Fat16 => 2,
            Self::Fat32 => 4,
        }
    }

    fn clusters(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::Fat16 => FAT16_CLUSTERS,
            Self::Fat32 => FAT32_CLUSTERS,
        }
    }
}

/// Where the parts of a volume are, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) width: Width,
    pub(super) sectors: u64,
    pub(super) sectors_a_cluster: u64,
    pub(super) reserved: u64,
    /// Of one table.
    pub(super) table: u64,
    /// Of FAT16's root directory.
    pub(super) root: u64,
    pub(super) clusters: u64,
}

/// What a volume must have room for, by the size of its clusters.
pub(super) trait Need {
    /// The clusters that are needed, the root directory's only if it stands in clusters.
    fn clusters(&self, width: Width, cluster_bytes: u64) -> u64;
    /// The entries of the root directory.
    fn root_entries(&self) -> u64;
}

impl Geometry {
    /// A volume of `sectors` sectors, if there can be one like this.
    fn new(width: Width, sectors: u64, sectors_a_cluster: u64, root_entries: u64) -> Option<Self> {
        u32::try_from(sectors).ok()?;
        let (mut reserved, root) = match width {
            Width::Fat16 => (1, root_entries.max(512).div_ceil(DIRECTORY_ENTRIES_A_SECTOR)),
            Width::Fat32 => (FAT32_RESERVED, 0),
        };
        let data = sectors.checked_sub(reserved + root)?;
        // One for the clusters that there would be if the tables took no room is too large; one for those that it then
        // leaves is too small. The right one is a few sectors above that.
        let table_for = |table: u64| {
            let clusters = data.saturating_sub(TABLES * table) / sectors_a_cluster;
            ((clusters + 2) * width.entry_bytes()).div_ceil(SECTOR)
        };
        let mut table = table_for(table_for(0));
        while table < table_for(table) {
            table += 1;
        }
        let before = reserved + TABLES * table + root;
        reserved += before.next_multiple_of(ALIGNMENT) - before;
        let clusters = sectors.checked_sub(reserved + TABLES * table + root)? / sectors_a_cluster;
        width.clusters().contains(&clusters).then_some(Self {
            width,
            sectors,
            sectors_a_cluster,
            reserved,
            table,
            root,
            clusters,
        })
    }

    /// The geometry of a volume of `sectors` sectors: FAT32 where there are clusters enough for it, with those of
    /// 4 KiB at most unless there were too many; else FAT16 with the smallest. `None` for less than 2 MiB or more
    /// than 2 TiB.
    pub(super) fn of_size(sectors: u64, root_entries: u64) -> Option<Self> {
        let sizes = || (0..).map(|power| 1 << power).take_while(|&size: &u64| size <= MOST_SECTORS_A_CLUSTER);
        let wide = sizes()
            .filter_map(|size| Self::new(Width::Fat32, sectors, size, root_entries))
            .take_while(|geometry| {
                geometry.sectors_a_cluster <= ALIGNMENT || geometry.clusters * 2 > MANY_CLUSTERS
            })
            .last();
        wide.or_else(|| sizes().find_map(|size| Self::new(Width::Fat16, sectors, size, root_entries)))
    }

    /// The geometry of the smallest volume that has room for `need` and whose size is a multiple of `step` sectors.
    /// `None` when that would be more than 2 TiB.
    pub(super) fn for_need(need: &dyn Need, step: u64) -> Option<Self> {
        let step = step.clamp(1, u64::from(u32::MAX));
        let limit = u64::from(u32::MAX) / step * step;
        let fits = |sectors: u64| {
            Self::of_size(sectors, need.root_entries()).is_some_and(|geometry| geometry.holds(need))
        };
        let mut most = step;
        while !fits(most) {
            if most == limit {
                return None;
            }
            most = (most * 2).min(limit);
        }
        // Larger volumes have larger clusters at some sizes, so not every one above the smallest fits: the search goes
        // up in steps that halve, and the last one found to fit is taken.
        let mut least = most / 2;
        while most - least > step {
            let middle = (least + (most - least) / 2).next_multiple_of(step);
            if middle >= most {
                break;
            }
            if fits(middle) { most = middle } else { least = middle }
        }
        Self::of_size(most, need.root_entries())
    }

    /// Whether there is room for `need`.
    pub(super) fn holds(&self, need: &dyn Need) -> bool {
        need.clusters(self.width, self.cluster_bytes()) <= self.clusters
            && (self.root == 0 || need.root_entries() <= self.root_entries())
    }

    pub(super) fn cluster_bytes(&self) -> u64 {
        self.sectors_a_cluster * SECTOR
    }

    fn root_entries(&self) -> u64 {
        self.root * DIRECTORY_ENTRIES_A_SECTOR
    }

    /// Where a copy of the table begins, in bytes.
    pub(super) fn table_position(&self, copy: u64) -> u64 {
        (self.reserved + copy * self.table) * SECTOR
    }

    /// Where FAT16's root directory begins, in bytes.
    pub(super) fn root_position(&self) -> u64 {
        (self.reserved + TABLES * self.table) * SECTOR
    }

    /// Where a cluster begins, in bytes.
    pub(super) fn cluster_position(&self, cluster: u32) -> u64 {
        (self.reserved + TABLES * self.table + self.root) * SECTOR
            + u64::from(cluster - FIRST_CLUSTER) * self.cluster_bytes()
    }

    /// The boot sector. `hidden` is how many sectors come before the volume on its disk.
    pub(super) fn boot_sector(&self, volume_id: u32, label: &[u8; 11], hidden: u32) -> Vec<u8> {
        /// What stands where boot code would: a BIOS is told that this can't be started (INT 18h), and waits.
        const NO_CODE: [u8; 5] = [0xcd, 0x18, 0xf4, 0xeb, 0xfd];
        let mut sector = vec![0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        // Sizes of a volume fit into the fields: Geometry::new sees to that.
        let small = |number: u64| (number as u16).to_le_bytes();
        let total = self.sectors as u32;
        put(3, b"MSWIN4.1");
        put(11, &small(SECTOR));
        put(13, &[self.sectors_a_cluster as u8]);
        put(14, &small(self.reserved));
        put(16, &[TABLES as u8]);
        put(17, &small(self.root_entries()));
        match (self.width, u16::try_from(total)) {
            (Width::Fat16, Ok(total)) => put(19, &total.to_le_bytes()),
            _ => put(32, &total.to_le_bytes()),
        }
        put(21, &[0xf8]); // A fixed disk.
        put(24, &small(63)); // Sectors a track and heads, which nothing asks for any more.
        put(26, &small(255));
        put(28, &hidden.to_le_bytes());
        let (extended, jump) = match self.width {
            Width::Fat16 => {
                put(22, &small(self.table));
                (36, [0xeb, 0x3c, 0x90])
            }
            Width::Fat32 => {
                put(36, &(self.table as u32).to_le_bytes());
                put(44, &FIRST_CLUSTER.to_le_bytes()); // The root directory's.
                put(48, &small(1)); // FSInfo.
                put(50, &small(BACKUP_SECTOR));
                (64, [0xeb, 0x58, 0x90])
            }
        };
        put(0, &jump);
        put(extended, &[0x80, 0, 0x29]); // A fixed disk; the fields that follow are there.
        put(extended + 3, &volume_id.to_le_bytes());
        put(extended + 7, label);
        put(extended + 18, if self.width == Width::Fat16 { b"FAT16   " } else { b"FAT32   " });
        put(extended + 26, &NO_CODE);
        put(510, &[0x55, 0xaa]);
        sector
    }

    /// FAT32's sector of free clusters, when the first `used` clusters are taken.
    pub(super) fn info_sector(&self, used: u32) -> Vec<u8> {
        let mut sector = vec![0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        let free = self.clusters as u32 - used;
        put(0, b"RRaA");
        put(484, b"rrAa");
        put(488, &free.to_le_bytes());
        put(492, &(if free == 0 { u32::MAX } else { FIRST_CLUSTER + used }).to_le_bytes());
        put(508, &[0, 0, 0x55, 0xaa]);
        sector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 2048;

    #[test]
    fn sizes_choose_width_and_clusters() {
        for (sectors, expected) in [
            (MIB, None),
            (2 * MIB, None),
            (3 * MIB, Some((Width::Fat16, 1))),
            (32 * MIB, Some((Width::Fat16, 1))),
            (33 * MIB, Some((Width::Fat32, 1))),
            (100 * MIB, Some((Width::Fat32, 2))),
            (512 * MIB, Some((Width::Fat32, 8))),
            (8 << 21, Some((Width::Fat32, 8))),
            (9 << 21, Some((Width::Fat32, 16))),
            (u64::from(u32::MAX), Some((Width::Fat32, 64))),
            (u64::from(u32::MAX) + 1, None),
            (u64::MAX, None),
        ] {
            let found = Geometry::of_size(sectors, 1);
            assert_eq!(
                found.map(|geometry| (geometry.width, geometry.sectors_a_cluster)),
                expected,
                "{sectors}"
            );
        }
    }

    /// For all sizes around the borders: the parts fit, the table has an entry for each cluster, and the data is
    /// aligned.
    #[test]
    fn parts_fit_together() {
        let around = |sectors: u64| sectors.saturating_sub(700)..sectors + 700;
        for sectors in around(4300).chain(around(66_000)).chain(around(66_700)).chain(around(540_000)) {
            let Some(geometry) = Geometry::of_size(sectors, 600) else {
                assert!(sectors < 4300, "{sectors}");
                continue;
            };
            let Geometry { reserved, table, root, clusters, sectors_a_cluster, .. } = geometry;
            let before = reserved + TABLES * table + root;
            assert_eq!(before % 8, 0);
            assert!(before + clusters * sectors_a_cluster <= sectors);
            assert!(before + (clusters + 1) * sectors_a_cluster > sectors);
            let entries = table * SECTOR / geometry.width.entry_bytes();
            assert!(entries >= clusters + 2, "{geometry:?}");
            assert!(entries < clusters + 2 + 256 + 8, "{geometry:?}");
        }
    }

    struct Bytes(u64);

    impl Need for Bytes {
        fn clusters(&self, width: Width, cluster_bytes: u64) -> u64 {
            self.0.div_ceil(cluster_bytes) + u64::from(width == Width::Fat32)
        }

        fn root_entries(&self) -> u64 {
            700
        }
    }

    #[test]
    fn the_smallest_that_fits_is_found() {
        for bytes in [0, 1 << 20, 20 << 20, (32 << 20) - 5, (33 << 20) + 7, 100 << 20, 260 << 20, 5 << 30] {
            let need = Bytes(bytes);
            let geometry = Geometry::for_need(&need, MIB).expect("there is one");
            assert!(geometry.holds(&need) && geometry.sectors.is_multiple_of(MIB), "{geometry:?}");
            let smaller = Geometry::of_size(geometry.sectors - MIB, 700);
            assert!(smaller.is_none_or(|smaller| !smaller.holds(&need)), "{geometry:?}");
            assert!(
                geometry.sectors * SECTOR <= (bytes + bytes / 50 + (4 << 20)).max(4 << 20),
                "{geometry:?}"
            );
        }
        assert_eq!(Geometry::for_need(&Bytes(u64::MAX), MIB), None);
        assert_eq!(Geometry::for_need(&Bytes(3 << 40), MIB), None);
    }
}
