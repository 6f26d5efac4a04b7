//! Quoting for commands that users can paste into a shell.

/// Returns an option with its value as one or two words. A value that starts with a dash would be
/// read as another option if it were a separate word.
#[must_use]
pub fn option(name: &str, value: &str) -> Vec<String> {
    match value.starts_with('-') {
        true => vec![format!("{name}={value}")],
        false => vec![name.to_owned(), value.to_owned()],
    }
}

/// Returns an option with its value, quoted, with a space before it.
#[must_use]
pub fn option_text(name: &str, value: &str) -> String {
    let words = option(name, value).into_iter();
    words.map(|word| format!(" {}", quoted(&word))).collect()
}

/// A word for a POSIX shell, quoted if necessary.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_dash_stays_in_the_word_of_its_option() {
        for (value, expected) in [
            ("by-dev", " --root-path by-dev"),
            ("-x", " --root-path=-x"),
            ("-x y", " '--root-path=-x y'"),
            ("it's", r" --root-path 'it'\''s'"),
            ("", " --root-path ''"),
        ] {
            assert_eq!(option_text("--root-path", value), expected);
        }
    }
}
