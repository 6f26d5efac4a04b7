//! Numbers in messages.

/// Formats a number with its thousands separated, such as `104,000`.
#[must_use]
pub fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number with its noun, such as `1 key`, `2 keys`, `3 entries` and `4 segment indexes`.
#[must_use]
pub fn counted(number: impl TryInto<u64> + Copy, noun: &str) -> String {
    let plural = if number.try_into().is_ok_and(|number| number == 1) {
        noun.to_owned()
    } else if let Some(stem) = noun.strip_suffix("try") {
        format!("{stem}tries")
    } else if noun.ends_with(['s', 'x']) {
        format!("{noun}es")
    } else {
        format!("{noun}s")
    };
    format!("{} {plural}", count(number))
}

/// Chooses the form of a word that agrees with a number.
#[must_use]
pub fn agree<'w>(number: impl TryInto<u64>, one: &'w str, many: &'w str) -> &'w str {
    match number.try_into() {
        Ok(1) => one,
        Ok(_) | Err(_) => many,
    }
}

/// The maximum number of names in a message.
pub const NAMED_MAX: usize = 5;

/// Lists the first five names and the number of others.
#[must_use]
pub fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let total = names.len() as u64;
    listed_of(total, names.take(NAMED_MAX))
}

/// Lists some of `total` names and the number of others.
pub(crate) fn listed_of(total: u64, names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    let text = names.join(", ");
    match total.saturating_sub(names.len() as u64) {
        0 => text,
        others => format!("{text} and {others} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, text) in [
            (0_u64, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn nouns_agree_with_their_number() {
        for (number, noun, text) in [
            (0_u64, "key", "0 keys"),
            (1, "key", "1 key"),
            (2, "key", "2 keys"),
            (1, "entry", "1 entry"),
            (2, "entry", "2 entries"),
            (1, "segment index", "1 segment index"),
            (2, "segment index", "2 segment indexes"),
            (2, "alias", "2 aliases"),
        ] {
            assert_eq!(counted(number, noun), text);
        }
        assert_eq!(agree(1_u64, "is", "are"), "is");
        assert_eq!(agree(2_u64, "is", "are"), "are");
    }
}
