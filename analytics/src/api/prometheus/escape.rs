//! Label names in paths: `U__` and then the name, underscores doubled and other characters as `_HEX_`. Pure.

/// The name that `text` stands for; a text that is not of this form stands for itself.
pub(super) fn unescape(text: &str) -> String {
    text.strip_prefix("U__").and_then(name).unwrap_or_else(|| text.to_owned())
}

fn name(mut rest: &str) -> Option<String> {
    let mut name = String::new();
    while let Some(at) = rest.find('_') {
        let (plain, escape) = rest.split_at(at);
        name.push_str(plain);
        let escape = escape.get(1..)?;
        if let Some(after) = escape.strip_prefix('_') {
            name.push('_');
            rest = after;
            continue;
        }
        let (hex, after) = escape.split_once('_')?;
        if hex.is_empty() || hex.len() > 6 {
            return None;
        }
        name.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped_and_plain_ones_left_alone() {
        assert_eq!(unescape("job"), "job");
        assert_eq!(unescape("U__my_2e_label__x"), "my.label_x");
        assert_eq!(unescape("U__w_e4_rme"), "wärme");
        for other in ["U__a_", "U__a_2e", "U__a_zz_", "U__a_110000_", "U_x"] {
            assert_eq!(unescape(other), other);
        }
    }
}
