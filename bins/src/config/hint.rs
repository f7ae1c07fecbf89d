//! "Did you mean …?"

/// Suggests what was meant instead of `word`, and lists what would be right.
pub(super) fn suggest<'a>(word: &str, valid: impl Iterator<Item = &'a str> + Clone) -> String {
    let list = valid.clone().collect::<Vec<_>>().join(", ");
    let near = valid.map(|v| (distance(word, v), v)).min();
    match near {
        Some((distance, v)) if distance <= 1 + v.len() / 4 => {
            format!("did you mean `{v}`? valid here: {list}")
        }
        _ if list.is_empty() => "nothing is valid here".to_owned(),
        _ => format!("valid here: {list}"),
    }
}

/// Counts the insertions, deletions, replacements and swaps of neighbours from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().take(100).collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swapped = if swap { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                replaced.min(swapped).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        let cases = [("", "abc", 3), ("path", "path", 0), ("pth", "path", 1), ("ulr", "url", 1)];
        for (a, b, edits) in cases {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let valid = ["path", "format"];
        assert_eq!(
            suggest("pth", valid.into_iter()),
            "did you mean `path`? valid here: path, format"
        );
        assert_eq!(suggest("compression", valid.into_iter()), "valid here: path, format");
    }
}
