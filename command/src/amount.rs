//! Numbers of bytes, for people.

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
}
