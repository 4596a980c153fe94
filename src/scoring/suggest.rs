//! "Did you mean": the known name nearest to a mistyped one.

/// Returns the known name with the fewest changed letters, when they are at most a third of the name (of
/// its last part, when it is dotted).
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|candidate| (distance(name, candidate), candidate));
    let (changes, near) = distances.min_by_key(|(changes, _)| *changes)?;
    let own = name.rsplit('.').next().map_or(0, |part| part.chars().count());
    (changes <= (own / 3).max(1)).then_some(near)
}

/// Counts the letters to insert, delete or replace between two names (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (place, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], place + 1);
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near_or_none() {
        let known = ["tx.amount", "tx.card.country", "score"];
        assert_eq!(nearest("tx.ammount", known), Some("tx.amount"));
        assert_eq!(nearest("tx.card.contry", known), Some("tx.card.country"));
        assert_eq!(nearest("scores", known), Some("score"));
        assert_eq!(nearest("weather", known), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "abc")), (3, 3, 0));
    }
}
