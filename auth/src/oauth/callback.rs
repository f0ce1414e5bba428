//! What a browser brings back from the provider, in the query of the callback.

use crate::Secret;

/// The query of a callback (RFC 6749 §4.1.2). Everything in it is from outside and unchecked.
#[derive(Clone, Debug, Default)]
pub struct Callback {
    pub(super) code: Option<Secret>,
    pub(super) state: Option<Secret>,
    /// `error`, of which only known values are ever shown. `error_description` is left alone: it is
    /// text that anybody can put into a link.
    pub(super) error: Option<String>,
}

impl Callback {
    /// Reads a raw query, without its question mark. Of a parameter that is there twice, neither
    /// counts (RFC 6749 §3.1).
    pub fn parse(query: &str) -> Self {
        let parameter = |wanted: &str| {
            let mut values = url::form_urlencoded::parse(query.as_bytes())
                .filter(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned());
            let value = values.next().filter(|value| !value.is_empty());
            values.next().is_none().then_some(value).flatten()
        };
        Self {
            code: parameter("code").map(Secret::new),
            state: parameter("state").map(Secret::new),
            error: parameter("error"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_read() {
        let callback = Callback::parse("code=a%2Bb+c&state=s&other=x");
        assert_eq!(callback.code.unwrap().expose(), "a+b c");
        assert_eq!(callback.state, Some(Secret::new("s")));
        assert_eq!(callback.error, None);
    }

    #[test]
    fn a_parameter_that_is_there_twice_does_not_count() {
        let callback = Callback::parse("code=a&code=b&state=&state=s&error=x");
        assert_eq!((callback.code, callback.state), (None, None));
        assert_eq!(callback.error.as_deref(), Some("x"));
    }

    #[test]
    fn any_query_is_read_without_a_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        let parts = [
            "code", "state", "error", "=", "&", "%", "%ff", "+", "é", "\0",
        ];
        for _ in 0..5000 {
            let count = random.usize(0..12);
            let query: String = (0..count).filter_map(|_| random.choice(parts)).collect();
            let callback = Callback::parse(&query);
            assert!(callback.code.is_none() || query.contains("code"), "{query}");
        }
    }
}
