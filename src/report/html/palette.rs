//! The colours of the groups, in light and dark, and the text on them.

use crate::report::component::Group;

/// The class, the background in light and the background in dark of each group. The text on them is
/// [`LIGHT_TEXT`] and [`DARK_TEXT`]; their contrast is tested.
pub(super) const GROUPS: [(Group, &str, u32, u32); 9] = [
    (Group::Erts, "erts", 0x00f6_be7e, 0x0080_4e12),
    (Group::Otp, "otp", 0x00f3_a9a5, 0x0086_2a35),
    (Group::Elixir, "elixir", 0x00cf_b8ea, 0x005b_3b8c),
    (Group::Application, "application", 0x00a6_d9a0, 0x0023_6630),
    (Group::Library, "library", 0x009f_cdf0, 0x001b_5484),
    (Group::Package, "package", 0x00c3_cbd3, 0x0047_5563),
    (Group::Kernel, "kernel", 0x00e3_d583, 0x0062_5a14),
    (Group::System, "system", 0x00d5_c4b5, 0x0060_4a3a),
    (Group::Overlay, "overlay", 0x0093_d8d2, 0x0010_5f5b),
];

/// The text on groups in light, as in `page.css`.
#[cfg(test)]
const LIGHT_TEXT: u32 = 0x001d_1b19;
/// The text on groups in dark, as in `page.css`.
#[cfg(test)]
const DARK_TEXT: u32 = 0x00ff_ffff;

/// The class of a group.
pub(super) fn class(group: Group) -> &'static str {
    GROUPS.iter().find(|(other, ..)| *other == group).map_or("package", |(_, class, ..)| class)
}

/// The rules that give elements of a group's class its colour.
pub(super) fn css() -> String {
    let rules = |color: fn(&(Group, &str, u32, u32)) -> u32| -> String {
        GROUPS.iter().map(|row| format!(".g-{}{{--group:#{:06x}}}", row.1, color(row))).collect()
    };
    format!("{}\n@media (prefers-color-scheme: dark){{{}}}\n", rules(|row| row.2), rules(|row| row.3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of WCAG 2.2.
    fn luminance(color: u32) -> f64 {
        let channel = |shift: u32| {
            let value = f64::from(color >> shift & 0xff) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0)
    }

    /// The contrast ratio of WCAG 2.2.
    fn contrast(one: u32, other: u32) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// A colour mixed with another, as `color-mix(in srgb, …)` does.
    fn mixed(color: u32, share: f64, with: u32) -> u32 {
        [16, 8, 0].into_iter().fold(0, |mixed, shift| {
            let channel = |color: u32| f64::from(color >> shift & 0xff);
            let value = channel(color) * share + channel(with) * (1.0 - share);
            mixed | (value.round() as u32) << shift
        })
    }

    #[test]
    fn text_can_be_read_on_every_group() {
        assert!((contrast(0, 0x00ff_ffff) - 21.0).abs() < 0.01);
        let css = include_str!("page.css");
        assert!(css.contains("--tile-text: #1d1b19;") && css.contains("--tile-text: #ffffff;"));
        assert!(css.contains("var(--group) 76%") && css.contains("var(--group) 54%"));
        // What stands for several groups has a colour of its own.
        let several = (0x00d8_d4ce, 0x004a_4743);
        assert!(css.contains("--group: #d8d4ce;") && css.contains("--group: #4a4743;"));
        let colors = GROUPS.iter().map(|&(_, _, light, dark)| (light, dark)).chain([several]);
        for (light, dark) in colors {
            // AA wants 4.5; tiles inside of a frame are mixed with white or black.
            for (back, text) in [
                (light, LIGHT_TEXT),
                (mixed(light, 0.76, 0x00ff_ffff), LIGHT_TEXT),
                (mixed(light, 0.54, 0x00ff_ffff), LIGHT_TEXT),
                (dark, DARK_TEXT),
                (mixed(dark, 0.76, 0), DARK_TEXT),
                (mixed(dark, 0.54, 0), DARK_TEXT),
            ] {
                let contrast = contrast(back, text);
                assert!(contrast >= 5.5, "{contrast:.2} on #{back:06x}");
            }
        }
        // The page's own text, soft text and links on its backgrounds.
        for (text, backs) in [
            (0x1d_1b19, [0xfd_fcfa, 0xff_ffff]),
            (0x5c_5650, [0xfd_fcfa, 0xff_ffff]),
            (0x0b_57a4, [0xfd_fcfa, 0xff_ffff]),
            (0xf1_eeea, [0x16_1513, 0x20_1e1b]),
            (0xb9_b1a8, [0x16_1513, 0x20_1e1b]),
            (0x8c_c4ff, [0x16_1513, 0x20_1e1b]),
        ] {
            assert!(css.contains(&format!("#{text:06x};")), "#{text:06x}");
            for back in backs {
                assert!(css.contains(&format!("#{back:06x};")), "#{back:06x}");
                assert!(contrast(text, back) >= 5.5, "#{text:06x} on #{back:06x}");
            }
        }
    }

    #[test]
    fn every_group_has_its_own() {
        let classes: std::collections::BTreeSet<&str> = GROUPS.iter().map(|(_, class, ..)| *class).collect();
        assert_eq!(classes.len(), GROUPS.len());
        for (group, class_of, ..) in GROUPS {
            assert_eq!(class(group), class_of);
        }
    }
}
