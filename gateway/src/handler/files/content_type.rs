//! The media type of a file, by the extension of its name.
//!
//! In: a file name. Out: the value of `Content-Type`. What the web is made of is in a table here,
//! so the common case allocates nothing and does not change with a dependency; the rest comes from
//! `mime_guess`. Text is said to be UTF-8, except XML and JSON, which carry or fix their own
//! encoding. An unknown extension is `application/octet-stream`: with `nosniff` a browser then
//! downloads the file instead of guessing.

use http::HeaderValue;

const UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// `name` may have directories in front.
pub(super) fn content_type(name: &[u8]) -> HeaderValue {
    let Some(extension) = extension(name) else {
        return UNKNOWN;
    };
    let mut lower = [0; LONGEST];
    let Some(lower) = lower.get_mut(..extension.len()) else {
        return UNKNOWN;
    };
    lower.copy_from_slice(extension);
    lower.make_ascii_lowercase();
    match well_known(lower) {
        Some(known) => HeaderValue::from_static(known),
        None => std::str::from_utf8(lower).map_or(UNKNOWN, guess),
    }
}

/// No registered extension is longer.
const LONGEST: usize = 24;

/// A name that only starts with a dot has none.
fn extension(name: &[u8]) -> Option<&[u8]> {
    let file = name.rsplit(|byte| *byte == b'/').next()?;
    let dot = file.iter().rposition(|byte| *byte == b'.')?;
    (dot > 0).then(|| &file[dot + 1..])
}

fn well_known(extension: &[u8]) -> Option<&'static str> {
    Some(match extension {
        b"html" | b"htm" => "text/html; charset=utf-8",
        b"css" => "text/css; charset=utf-8",
        // RFC 9239: text/javascript for scripts and modules alike.
        b"js" | b"mjs" | b"cjs" => "text/javascript; charset=utf-8",
        b"json" | b"map" => "application/json",
        b"webmanifest" => "application/manifest+json",
        b"wasm" => "application/wasm",
        b"xml" => "application/xml",
        b"xhtml" => "application/xhtml+xml",
        b"txt" | b"log" | b"conf" | b"ini" | b"toml" => "text/plain; charset=utf-8",
        b"md" => "text/markdown; charset=utf-8",
        b"csv" => "text/csv; charset=utf-8",
        b"yaml" | b"yml" => "application/yaml",
        b"vtt" => "text/vtt; charset=utf-8",
        b"svg" => "image/svg+xml",
        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"avif" => "image/avif",
        b"ico" => "image/x-icon",
        b"woff2" => "font/woff2",
        b"woff" => "font/woff",
        b"ttf" => "font/ttf",
        b"otf" => "font/otf",
        b"mp4" => "video/mp4",
        b"webm" => "video/webm",
        b"ts" => "video/mp2t",
        b"m3u8" => "application/vnd.apple.mpegurl",
        b"mp3" => "audio/mpeg",
        b"ogg" => "audio/ogg",
        b"wav" => "audio/wav",
        b"pdf" => "application/pdf",
        b"zip" => "application/zip",
        b"gz" | b"tgz" => "application/gzip",
        b"zst" => "application/zstd",
        _ => return None,
    })
}

fn guess(extension: &str) -> HeaderValue {
    match mime_guess::from_ext(extension).first_raw() {
        Some(text) if text.starts_with("text/") && !text.ends_with("xml") => {
            HeaderValue::try_from(format!("{text}; charset=utf-8")).unwrap_or(UNKNOWN)
        }
        Some(kind) => HeaderValue::from_static(kind),
        None => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> String {
        content_type(name.as_bytes()).to_str().unwrap().to_owned()
    }

    #[test]
    fn text_says_it_is_utf8() {
        assert_eq!(of("index.html"), "text/html; charset=utf-8");
        assert_eq!(of("a/b.v2/app.MJS"), "text/javascript; charset=utf-8");
        assert_eq!(of("cal.ics"), "text/calendar; charset=utf-8");
    }

    #[test]
    fn self_describing_formats_do_not() {
        assert_eq!(of("a.json"), "application/json");
        assert_eq!(of("feed.xml"), "application/xml");
        assert_eq!(of("a.svg"), "image/svg+xml");
        assert_eq!(of("a.wasm"), "application/wasm");
        assert_eq!(of("a.jxl"), "image/jxl");
    }

    #[test]
    fn only_the_last_extension_counts() {
        assert_eq!(of("release.html.gz"), "application/gzip");
        assert_eq!(of("html"), "application/octet-stream");
        assert_eq!(of("dir.html/file"), "application/octet-stream");
        assert_eq!(of(".html"), "application/octet-stream");
        assert_eq!(of("name."), "application/octet-stream");
    }

    #[test]
    fn any_bytes_have_a_type() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..5_000 {
            let name: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            assert!(
                content_type(&[b"a.", &name[..]].concat())
                    .to_str()
                    .unwrap()
                    .contains('/')
            );
        }
        assert_eq!(
            of(&format!("a.{}", "x".repeat(300))),
            "application/octet-stream"
        );
    }
}
