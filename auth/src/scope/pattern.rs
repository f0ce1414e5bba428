//! The names a scope is for.

/// The longest pattern, in characters.
const MAX_LEN: usize = 128;

/// A text in which `*` stands for any characters but `/`, none included.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pattern(Box<str>);

impl Pattern {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fits = (1..=MAX_LEN).contains(&text.len());
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-_./*".contains(&b);
        (fits && text.bytes().all(known)).then(|| Self(text.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let mut segments = self.0.split('/');
        let mut names = name.split('/');
        loop {
            match (segments.next(), names.next()) {
                (None, None) => return true,
                (Some(segment), Some(name)) if segment_matches(segment, name) => {}
                _ => return false,
            }
        }
    }

    /// Whether every name `other` matches is matched by this one. To match the text of `other`,
    /// stars and all, is enough for that: whatever they stand for, a star of this one takes it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

/// Goes back at most to the last star, so it takes at most the product of both lengths.
fn segment_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&literal) if literal == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, from)) = star else {
                    return false;
                };
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|&rest| rest == b'*')
}
