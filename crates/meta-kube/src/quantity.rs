//! Kubernetes quantities: `100m`, `256Mi`, `1e3`.

const MI: f64 = 1_048_576.0;

/// The position of `unit` in `units`, counted from 1.
fn power(units: &str, unit: &str) -> Option<i32> {
    let mut powers = (1..).zip(units.chars());
    let found = powers.find(|(_, one)| unit.chars().eq([*one]));
    found.map(|(power, _)| power)
}

/// Parses a quantity; `None` if Kubernetes would reject it.
pub fn number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_digit = |one: char| one.is_ascii_digit() || one == '.';
    let digits = unsigned.find(|one: char| !is_digit(one));
    let (digits, suffix) = unsigned.split_at(digits.unwrap_or(unsigned.len()));
    let (exponent, factor) = if suffix.is_empty() {
        (0, 1.0)
    } else if let Some(unit) = suffix.strip_suffix('i') {
        (0, 1024_f64.powi(power("KMGTPE", unit)?))
    } else if let Some(power) = power("kMGTPE", suffix) {
        (3 * power, 1.0)
    } else if let Some(power) = power("mun", suffix) {
        (-3 * power, 1.0)
    } else {
        let exponent = suffix.strip_prefix(['e', 'E'])?;
        (exponent.parse::<i16>().ok()?.into(), 1.0)
    };
    // Parsing is exact, multiplication with a fraction is not.
    let number: f64 = format!("{digits}e{exponent}").parse().ok()?;
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    Some(sign * number * factor)
}

/// Whether one quantity is less than another; `false` if either is invalid.
pub(crate) fn is_less(one: &str, other: &str) -> bool {
    let (one, other) = (number(one), number(other));
    one.zip(other).is_some_and(|(one, other)| one < other)
}

/// Formats a number as a quantity, in the usual unit of the resource.
pub(crate) fn formatted(number: f64, resource: &str) -> String {
    let name = resource.rsplit(['.', '/']).next().unwrap_or(resource);
    match name {
        "cpu" if number.fract() != 0.0 => format!("{}m", (number * 1e3).round()),
        "memory" | "storage" | "ephemeral-storage"
            if number >= 1024.0 * MI && number % (1024.0 * MI) == 0.0 =>
        {
            format!("{}Gi", number / (1024.0 * MI))
        }
        "memory" | "storage" | "ephemeral-storage" if number > 0.0 => {
            format!("{}Mi", (number / MI).ceil())
        }
        _ => number.to_string(),
    }
}

/// Formats the largest quantity in the usual unit that does not exceed a number.
pub(crate) fn at_most(number: f64, resource: &str) -> String {
    let unit = if resource == "cpu" { 1e-3 } else { MI };
    let whole = (number / unit).floor() * unit;
    // Below one unit, the exact number.
    if whole > 0.0 {
        formatted(whole, resource)
    } else {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("0", 0.0),
            ("1.5", 1.5),
            (".5", 0.5),
            ("+2", 2.0),
            ("-2Ki", -2048.0),
            ("5n", 5e-9),
            ("5u", 5e-6),
            ("100m", 0.1),
            ("2k", 2e3),
            ("2M", 2e6),
            ("2G", 2e9),
            ("2T", 2e12),
            ("2P", 2e15),
            ("2E", 2e18),
            ("2Ki", 2048.0),
            ("2Mi", 2_097_152.0),
            ("2Gi", 2_147_483_648.0),
            ("2Ti", 2_199_023_255_552.0),
            ("2Pi", 2_251_799_813_685_248.0),
            ("2Ei", 2_305_843_009_213_693_952.0),
            ("1e3", 1e3),
            ("1E3", 1e3),
            ("12e-1", 1.2),
            ("1.5e+2", 150.0),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for wrong in [
            "", "Mi", "much", "1x", "1Kb", "1e", "1e3Mi", "1.2.3", "--1", "1 Gi", "1K",
        ] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn quantities_are_compared_across_units() {
        for (less, more) in [
            ("100m", "1"),
            ("256Mi", "1Gi"),
            ("1G", "1Gi"),
            ("1e3", "1Ki"),
            ("999P", "1E"),
        ] {
            assert!(is_less(less, more), "{less} {more}");
            assert!(!is_less(more, less), "{more} {less}");
        }
        for (one, other) in [
            ("1", "1000m"),
            ("1.1", "1100m"),
            ("1Ki", "1024"),
            ("1e3", "1k"),
        ] {
            assert!(
                !is_less(one, other) && !is_less(other, one),
                "{one} {other}"
            );
        }
        assert!(!is_less("1", "much") && !is_less("much", "1"));
    }

    #[test]
    fn written_quantities_round_up_or_down_to_the_unit() {
        assert_eq!(formatted(0.25, "cpu"), "250m");
        assert_eq!(formatted(1.5 * MI, "limits.memory"), "2Mi");
        assert_eq!(at_most(1.5 * MI, "memory"), "1Mi");
        assert_eq!(at_most(1024.0 * MI, "memory"), "1Gi");
        assert_eq!(at_most(0.2504, "cpu"), "250m");
        assert_eq!(at_most(512.0, "memory"), "512");
    }
}
