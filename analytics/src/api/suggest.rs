//! "Did you mean …?": the known word nearest to one that is not known.

/// The candidate that a typing mistake most likely meant, if any is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    // A third of the word may be wrong: `devise` is near `device`, `x` is near nothing.
    let near = (word.chars().count().min(64) / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= near && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ` Did you mean …?` as a sentence to go on with, or nothing.
pub(super) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|near| format!(" Did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_is_recognised_and_another_word_is_not() {
        let words = ["device", "metric", "start", "end", "tz"];
        assert_eq!(nearest("devise", words), Some("device"));
        assert_eq!(nearest("metrics", words), Some("metric"));
        assert_eq!(nearest("Start", words), Some("start"));
        assert_eq!(nearest("colour", words), None);
        assert_eq!(nearest("x", words), None);
    }
}
