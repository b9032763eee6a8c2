//! Text from outside (a process's name, a path, a word of a configuration), made safe for
//! terminals.
//!
//! Depends on no other module. A character that a terminal obeys, or that cannot be seen, is
//! printed as an escape: controls, format characters (directions of writing such as U+202E,
//! joiners, tags), blanks other than the space, separators, private and unassigned characters, and
//! marks that lie over the character before them. The standard library knows these characters: it
//! escapes them in debug output, by the Unicode version of the compiler. It takes some letters for
//! visible that are drawn as blanks; this file lists those.

use std::fmt::{self, Write};

/// Letters and symbols that are drawn as blanks: the fillers of Hangul, and Braille without a dot.
const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// Whether a reader sees this character, and a terminal only draws it.
fn is_seen(c: char) -> bool {
    // The standard library escapes these three because they have a meaning in its quotes.
    matches!(c, '"' | '\'' | '\\') || (c.escape_debug().len() == 1 && !BLANK.contains(&c))
}

/// Text without characters that a terminal obeys or that cannot be seen.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_seen(c) {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_default())?;
            }
        }
        Ok(())
    }
}

/// The same JSON with safe strings: a character that a terminal obeys, or that cannot be seen, is
/// written as `\u` and four digits, and twice so beyond U+FFFF. Outside strings, JSON has no such
/// characters except line ends.
pub(crate) fn printable_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || is_seen(c) {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text += &format!("\\u{unit:04x}");
            }
        }
    }
    text
}

/// The same text with each line made safe, for standard error.
pub(crate) fn printable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| Printable(line).to_string()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind of character that must not reach a terminal unescaped.
    const UNSEEN: [char; 40] = [
        '\0',
        '\t',
        '\n',
        '\r',
        '\x1b',
        '\x7f',
        '\u{85}',
        '\u{9b}', // controls
        '\u{ad}',
        '\u{61c}',
        '\u{180e}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}', // format
        '\u{202a}',
        '\u{202b}',
        '\u{202c}',
        '\u{202d}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2069}',
        '\u{206f}',
        '\u{feff}',
        '\u{fff9}',
        '\u{1d173}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{2028}',
        '\u{2029}', // separators
        '\u{a0}',
        '\u{3000}', // blanks
        '\u{34f}',
        '\u{fe0f}',
        '\u{e0100}', // marks without a shape
        '\u{115f}',
        '\u{2800}',
        '\u{3164}', // letters without a shape
        '\u{e000}', // private
    ];

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let text = Printable("a\x1b[2J\u{9b}b\n\u{e9} '\"\\").to_string();
        assert_eq!(text, "a\\u{1b}[2J\\u{9b}b\\n\u{e9} '\"\\");
        for c in UNSEEN {
            let text = Printable(&format!("a{c}b")).to_string();
            assert!(text.is_ascii() && text.len() > 3 && !text.contains(char::is_control), "{c:?}");
        }
        // Characters that can be read stay unchanged.
        let seen = "wallet-7 [x] (y) {z} \u{e9}\u{df}\u{416}\u{4e2d}\u{5d0}\u{1f511}";
        assert_eq!(Printable(seen).to_string(), seen);
        assert_eq!(printable_lines("a\nb\u{202e}c\n"), "a\nb\\u{202e}c\n");
    }

    #[test]
    fn json_says_the_same_in_characters_that_are_seen() {
        for c in UNSEEN {
            let value = serde_json::json!({ "name": format!("a{c}\u{e9}\"\\"), "n": [1, 2] });
            let plain = serde_json::to_string_pretty(&value).unwrap();
            let text = printable_json(&plain);
            assert!(text.chars().all(|c| c == '\n' || is_seen(c)), "{text:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
    }
}
