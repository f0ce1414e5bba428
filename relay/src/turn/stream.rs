//! Where one message ends on a TCP or TLS connection (RFC 8656 §3.1, RFC 8489 §6.2.2).
//!
//! In go the bytes read so far, out comes how many of them are the first message, or that this is
//! neither STUN nor ChannelData and the connection has to be closed: there is no way to find the
//! next message.

/// The bytes of a connection are not those of a TURN client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "neither STUN nor ChannelData begins with byte {first:#04x}; the client is speaking another protocol"
)]
pub struct StreamError {
    pub first: u8,
}

/// The length of the first message of `bytes` with its padding, if it can be said already. It may
/// be longer than `bytes`; it is at most 65 556.
pub fn frame_len(bytes: &[u8]) -> Result<Option<usize>, StreamError> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let header = match first {
        0x00..=0x3f => 20,
        0x40..=0x7f => 4,
        _ => return Err(StreamError { first }),
    };
    let Some(&[high, low]) = bytes.get(2..4) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if header == 20 && length % 4 != 0 {
        return Err(StreamError { first });
    }
    Ok(Some(header + length.next_multiple_of(4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_after_their_padding() {
        assert_eq!(frame_len(b"\x40\x00\x00\x01"), Ok(Some(8)));
        assert_eq!(frame_len(b"\x40\x00\x00\x04"), Ok(Some(8)));
        assert_eq!(frame_len(b"\x00\x01\x00\x08"), Ok(Some(28)));
        assert_eq!(frame_len(b"\x40\x00\xff\xff"), Ok(Some(65_540)));
    }

    #[test]
    fn too_few_bytes_say_nothing_yet() {
        for bytes in [&b""[..], b"\x00", b"\x40\x00\x00"] {
            assert_eq!(frame_len(bytes), Ok(None));
        }
    }

    #[test]
    fn other_protocols_are_told_at_their_first_byte() {
        assert_eq!(frame_len(b"\x80"), Err(StreamError { first: 0x80 }));
        assert!(frame_len(b"\x00\x01\x00\x07").is_err());
    }
}
