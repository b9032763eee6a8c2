//! Numbers of bytes: how they are printed, and how people write them.

use crate::parse::Bound;

/// A number of bytes for people, exact.
pub(crate) fn amount(bytes: Bound) -> String {
    match bytes {
        None => "any amount".into(),
        Some(bytes) => match bytes {
            0 => "0".into(),
            1 => "1 byte".into(),
            _ if bytes % (1 << 30) == 0 => format!("{} GiB", bytes >> 30),
            _ if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
            _ if bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
            _ => format!("{bytes} bytes"),
        },
    }
}

/// A number of bytes as a systemd unit has it, rounded up to kibibytes.
pub(crate) fn in_unit(bytes: Bound) -> String {
    bytes.map_or_else(|| "infinity".into(), |bytes| format!("{}K", bytes.div_ceil(1024)))
}

/// A soft and a hard limit of this number of bytes, as container engines have it.
pub(crate) fn in_container(bytes: Bound) -> String {
    bytes.map_or_else(|| "-1:-1".into(), |bytes| format!("{bytes}:{bytes}"))
}

/// A number of bytes as a person writes it: `4194304`, `4096K`, `4M`, `4 MiB`; `unlimited` or
/// `infinity`, as the shell and systemd say, is `None`. The letters are powers of 1024, as
/// systemd's are.
///
/// # Errors
/// What is wrong with the text, and what can be written instead.
pub fn parse_amount(text: &str) -> Result<Bound, String> {
    let text = text.trim();
    if matches!(text, "unlimited" | "infinity") {
        return Ok(None);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" => Some(0),
        "k" | "kib" => Some(10),
        "m" | "mib" => Some(20),
        "g" | "gib" => Some(30),
        "t" | "tib" => Some(40),
        _ => None,
    };
    let (Some(shift), false) = (shift, number.is_empty()) else {
        return Err(format!(
            "{text:?} is no amount: write a number of bytes, or one with K, M, G, KiB, MiB or GiB, or \
             `unlimited`"
        ));
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.map(Some).ok_or_else(|| format!("{text:?} is too large: for no limit write `unlimited`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (bytes, text) in [
            (Some(0), "0"),
            (Some(1), "1 byte"),
            (Some(1025), "1025 bytes"),
            (Some(4096), "4 KiB"),
            (Some(256 << 10), "256 KiB"),
            (Some(3 << 20), "3 MiB"),
            (Some(2 << 30), "2 GiB"),
            (None, "any amount"),
        ] {
            assert_eq!(amount(bytes), text);
        }
    }

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4194304", Some(4 << 20)),
            ("4096K", Some(4 << 20)),
            ("4096k", Some(4 << 20)),
            ("4M", Some(4 << 20)),
            ("4MiB", Some(4 << 20)),
            ("4 MiB", Some(4 << 20)),
            ("64KiB", Some(64 << 10)),
            ("2G", Some(2 << 30)),
            ("2GiB", Some(2 << 30)),
            ("1T", Some(1 << 40)),
            ("unlimited", None),
            ("infinity", None),
        ] {
            assert_eq!(parse_amount(text), Ok(bytes), "{text}");
        }
        // MB would be a million bytes, which is not meant here. Fractions are refused too.
        for text in ["", "M", "many", "-1", "+1", "4MB", "4B", "1.5M", "4 M M", "0x10", "\u{664}"] {
            let error = parse_amount(text).unwrap_err();
            assert!(error.contains("K, M, G"), "{text}: {error}");
        }
        for text in ["18446744073709551616", "18446744073709551615K", "99999999999999T"] {
            assert!(parse_amount(text).unwrap_err().contains("too large"), "{text}");
        }
    }
}
