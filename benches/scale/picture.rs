//! Draws time and memory over size.

use crate::result::Size;

pub(crate) fn draw(_sizes: &[Size]) -> String {
    String::new()
}
