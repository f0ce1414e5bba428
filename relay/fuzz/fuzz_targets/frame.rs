//! Any bytes of a stream: cut anywhere, they make the same messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::turn::frame_len;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    while let Ok(Some(length)) = frame_len(rest) {
        assert!((4..=65_556).contains(&length) && length % 4 == 0);
        for shorter in 4..rest.len().min(length) {
            assert_eq!(frame_len(&rest[..shorter]), Ok(Some(length)));
        }
        let Some(after) = rest.get(length..) else {
            break;
        };
        rest = after;
    }
});
