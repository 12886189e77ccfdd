//! Sizes for people.

/// Bytes in the largest binary unit that leaves at least one of it: `512 B`, `38.5 MiB`, `1.2 GiB`.
pub fn human_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    let decimals = usize::from(unit != "B" && value < 100.0 && value.fract() >= 0.05);
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_fitting_unit_is_taken() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (40_370_176, "38.5 MiB"),
            (500 << 20, "500 MiB"),
            (1_288_490_188, "1.2 GiB"),
        ] {
            assert_eq!(human_size(bytes), shown);
        }
    }
}
