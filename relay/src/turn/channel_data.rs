//! ChannelData messages (RFC 8656 §12.4): four bytes before a payload.
//!
//! In goes a datagram or a piece of a stream, out come the channel and the payload as a slice of
//! it; or a payload's length goes in, and the four bytes come out.

use super::command::Head;

/// Channels a client may bind. RFC 8656 §12 ends at 0x4FFF to leave room beside STUN on one port;
/// clients of RFC 5766, coturn's among them, draw from all of these, and nothing else is spoken here.
pub(crate) const NUMBERS: std::ops::RangeInclusive<u16> = 0x4000..=0x7FFE;

/// The channel and the payload. Bytes after the payload are padding, which UDP may carry too.
pub(crate) fn parse(message: &[u8]) -> Option<(u16, &[u8])> {
    let (header, rest) = message.split_first_chunk::<4>()?;
    let [n0, n1, l0, l1] = *header;
    let number = u16::from_be_bytes([n0, n1]);
    if !NUMBERS.contains(&number) {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    Some((number, rest.get(..length)?))
}

/// What goes before a payload of `length` bytes; on a stream with padding to four after it.
pub(crate) fn head(number: u16, length: u16, stream: bool) -> Head {
    let mut bytes = [0; Head::LONGEST];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let padding = if stream { padding(length.into()) } else { 0 };
    Head {
        bytes,
        len: 4,
        padding,
    }
}

/// Bytes up to the next multiple of four.
pub(crate) fn padding(length: usize) -> u8 {
    [0, 3, 2, 1][length % 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_what_the_length_says_and_padding_is_not() {
        assert_eq!(parse(b"\x40\x01\x00\x02hi\0\0"), Some((0x4001, &b"hi"[..])));
        assert_eq!(parse(b"\x7f\xfe\x00\x00"), Some((0x7FFE, &b""[..])));
    }

    #[test]
    fn short_messages_and_reserved_channels_are_none() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"\x40\x00\x00"), None);
        assert_eq!(parse(b"\x40\x00\x00\x03hi"), None);
        assert_eq!(parse(b"\x7f\xff\x00\x02hi"), None);
        assert_eq!(parse(b"\x3f\xff\x00\x02hi"), None);
    }

    #[test]
    fn what_is_written_can_be_read() {
        for length in 0..9u8 {
            let payload = vec![7; length.into()];
            for stream in [false, true] {
                let head = head(0x4123, length.into(), stream);
                let mut message = [&head[..], &payload].concat();
                message.resize(message.len() + head.padding(), 0);
                assert_eq!(parse(&message), Some((0x4123, &payload[..])));
                assert!(!stream || message.len() % 4 == 0);
            }
        }
    }

    #[test]
    fn garbage_never_panics() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes = vec![0; rng.usize(..40)];
            rng.fill(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = 0x40 | *first & 0x3f;
            }
            if let Some((number, payload)) = parse(&bytes) {
                assert!(NUMBERS.contains(&number) && payload.len() + 4 <= bytes.len());
            }
        }
    }
}
