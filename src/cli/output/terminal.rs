//! Makes text safe for a terminal.
//!
//! Names, addresses and paths come from etcd, journals and backup headers, and may contain escape sequences or invisible
//! characters. Every text for a terminal is escaped here; JSON stays exact.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::style::Style;

/// Escapes one line, including line breaks, so that its text cannot look like another line.
pub(in crate::cli) fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        push(&mut safe, character);
    }
    Cow::Owned(safe)
}

/// Whether lines contain nothing to escape except line breaks.
pub(in crate::cli) fn is_safe(text: &str) -> bool {
    !text.contains(|character| character != '\n' && is_unsafe(character))
}

/// Escapes lines, except for line breaks and the colours of the style.
pub(in crate::cli) fn lines(text: &str, style: Style) -> Cow<'_, str> {
    if is_safe(text) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(colour) = style.colour_at(rest) {
            safe.push_str(colour);
            rest = &rest[colour.len()..];
            continue;
        }
        if character == '\n' {
            safe.push(character);
        } else {
            push(&mut safe, character);
        }
        rest = &rest[character.len_utf8()..];
    }
    Cow::Owned(safe)
}

fn push(safe: &mut String, character: char) {
    match character {
        '\n' | '\r' | '\t' => safe.extend(character.escape_default()),
        _ if is_unsafe(character) => {
            // Writing to a string does not fail.
            let _ = write!(safe, "{}", character.escape_unicode());
        }
        _ => safe.push(character),
    }
}

/// Whether a character is a control character, or reorders or hides text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_text_is_unchanged() {
        for text in ["by-dev/meta", "häuser 文档 naïve", ""] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn controls_and_invisible_characters_are_escaped() {
        for (given, shown) in [
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("a\u{9b}2J", "a\\u{9b}2J"),
            ("a\u{7f}\0", "a\\u{7f}\\u{0}"),
            ("x\u{202e}y\u{2066}", "x\\u{202e}y\\u{2066}"),
            (
                "x\u{200b}\u{feff}\u{e0041}",
                "x\\u{200b}\\u{feff}\\u{e0041}",
            ),
        ] {
            assert_eq!(line(given), shown);
        }
    }

    #[test]
    fn only_colours_of_the_style_are_kept() {
        let plain = Style::plain();
        assert_eq!(lines("a\nb\x1b[1mc", plain), "a\nb\\u{1b}[1mc");
        let coloured = Style::coloured();
        let painted = format!("{}\nkey \x1b[2Jx\x1b]0;t\x07", coloured.bad("error:"));
        assert_eq!(
            lines(&painted, coloured),
            format!(
                "{}\nkey \\u{{1b}}[2Jx\\u{{1b}}]0;t\\u{{7}}",
                coloured.bad("error:")
            )
        );
    }
}
