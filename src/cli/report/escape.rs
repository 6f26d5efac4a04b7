//! Escapes text for HTML. Users of Milvus choose the names in the metadata, so names must not act as markup.

use std::fmt::{self, Write as _};

use crate::cli::output::terminal::line;

/// Text that is displayed with markup, control characters and invisible characters escaped.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in line(self.0).chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                other => formatter.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_invisible_characters_are_escaped() {
        for (text, shown) in [
            (
                "<script>alert('x')</script>",
                "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;",
            ),
            ("a & \"b\"", "a &amp; &quot;b&quot;"),
            ("文档", "文档"),
        ] {
            assert_eq!(Text(text).to_string(), shown);
        }
        for hidden in [
            '\u{1b}', '\u{202e}', '\u{200b}', '\n', '\u{7f}', '\u{9b}', '\u{2066}',
        ] {
            let shown = Text(&format!("a{hidden}b")).to_string();
            assert!(!shown.contains(hidden), "{hidden:?}: {shown}");
        }
    }
}
