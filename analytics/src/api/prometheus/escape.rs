//! Label names in paths: `U__` and then the name, underscores doubled and other characters as `_HEX_`. Pure.

/// The name that `text` stands for; a text without the mark stands for itself. `None` where it is no such form.
pub(super) fn unescape(text: &str) -> Option<String> {
    let Some(mut rest) = text.strip_prefix("U__") else { return Some(text.to_owned()) };
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
        assert_eq!(unescape("job").as_deref(), Some("job"));
        assert_eq!(unescape("U__my_2e_label__x").as_deref(), Some("my.label_x"));
        assert_eq!(unescape("U__w_e4_rme").as_deref(), Some("wärme"));
        for wrong in ["U__a_", "U__a_2e", "U__a_zz_", "U__a_110000_"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }
}
