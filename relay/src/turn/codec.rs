//! STUN messages: framing of our own, attributes by `stun-types` and `turn-types`.
//!
//! In go bytes, out comes an [`Incoming`] that is known to be well formed: every attribute lies
//! inside, MESSAGE-INTEGRITY and FINGERPRINT are where RFC 8489 §14 wants them, and a FINGERPRINT
//! is right. Anything else is none and is dropped without an answer or a log line, as a stranger
//! decides how often it comes. [`Reply`] and [`data_head`] write what goes out, into buffers that
//! exist.

use std::net::{IpAddr, SocketAddr};

use stun_types::{
    attribute::{
        AttributeFromRaw, AttributeStaticType, AttributeType, AttributeWrite, ErrorCode,
        MessageIntegrity, MessageIntegritySha256, RawAttribute, UnknownAttributes,
    },
    message::{
        Message, MessageClass, MessageType, MessageWrite, MessageWriteMutSlice, Method,
        TransactionId,
    },
    prelude::MessageWriteExt,
};

use super::{
    channel_data,
    command::Head,
    integrity::{Integrity, Key},
};

const HEADER: usize = 20;
const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
/// The CRC of a FINGERPRINT is XORed with this (RFC 8489 §14.7).
const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// Attribute types that are read as raw bytes here.
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const INTEGRITY: u16 = 0x0008;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DONT_FRAGMENT: u16 = 0x001A;
    pub(crate) const INTEGRITY_SHA256: u16 = 0x001C;
    pub(crate) const PASSWORD_ALGORITHM: u16 = 0x001D;
    pub(crate) const PASSWORD_ALGORITHMS: u16 = 0x8002;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
    pub(crate) const MOBILITY_TICKET: u16 = 0x8030;
    /// ADDITIONAL-ADDRESS-FAMILY before it had a number; coturn and its clients have stayed with it.
    pub(crate) const DRAFT_ADDITIONAL_FAMILY: u16 = 0x8032;

    /// Those below 0x8000 that this server understands in a request or an indication.
    pub(crate) const UNDERSTOOD: [u16; 17] = [
        0x0001,
        USERNAME,
        INTEGRITY,
        0x000C,
        0x000D,
        XOR_PEER_ADDRESS,
        DATA,
        REALM,
        NONCE,
        0x0017,
        0x0018,
        0x0019,
        DONT_FRAGMENT,
        INTEGRITY_SHA256,
        PASSWORD_ALGORITHM,
        0x0020,
        0x0022,
    ];
}

/// The attribute is there, and its value is not one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadValue;

/// A well-formed message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    bytes: &'a [u8],
    message_type: MessageType,
    transaction: TransactionId,
    /// Where the attributes end that are not integrity or fingerprint.
    body_end: usize,
    sha1: Option<usize>,
    sha256: Option<usize>,
    fingerprint: bool,
}

impl<'a> Incoming<'a> {
    /// `bytes` is one message and nothing after it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] & 0xC0 != 0
            || header[4..8] != COOKIE
            || length != body.len()
            || length % 4 != 0
        {
            return None;
        }
        let mut transaction = [0; 16];
        transaction[4..].copy_from_slice(&header[8..]);
        let mut message = Self {
            bytes,
            message_type: MessageType::from_bytes(&header[..2]).ok()?,
            transaction: u128::from_be_bytes(transaction).into(),
            body_end: bytes.len(),
            sha1: None,
            sha256: None,
            fingerprint: false,
        };
        message.walk()?;
        Some(message)
    }

    /// Finds the closing attributes. What follows them otherwise is ignored (RFC 8489 §14.5).
    fn walk(&mut self) -> Option<()> {
        let mut offset = HEADER;
        while offset < self.bytes.len() {
            let (kind, value, next) = attribute_at(self.bytes, offset)?;
            if self.fingerprint {
                return None;
            }
            let closing = match kind {
                attribute::INTEGRITY if self.sha1.is_none() && self.sha256.is_none() => {
                    self.sha1 = Some(offset);
                    value.len() == 20
                }
                attribute::INTEGRITY_SHA256 if self.sha256.is_none() => {
                    self.sha256 = Some(offset);
                    // Truncation is for usages that allow it (RFC 8489 §14.6). TURN does not.
                    value.len() == 32
                }
                attribute::FINGERPRINT => {
                    self.fingerprint = true;
                    value == fingerprint(&self.bytes[..offset], next)
                }
                _ => {
                    offset = next;
                    continue;
                }
            };
            if !closing {
                return None;
            }
            self.body_end = self.body_end.min(offset);
            offset = next;
        }
        Some(())
    }

    pub(crate) fn class(&self) -> MessageClass {
        self.message_type.class()
    }

    pub(crate) fn method(&self) -> Method {
        self.message_type.method()
    }

    pub(crate) fn transaction(&self) -> TransactionId {
        self.transaction
    }

    pub(crate) fn has_fingerprint(&self) -> bool {
        self.fingerprint
    }

    /// The strongest integrity there is.
    pub(crate) fn integrity(&self) -> Option<Integrity> {
        match (self.sha1, self.sha256) {
            (_, Some(_)) => Some(Integrity::Sha256),
            (Some(_), None) => Some(Integrity::Sha1),
            (None, None) => None,
        }
    }

    /// Whether the strongest integrity there is was made with `key`.
    pub(crate) fn is_signed_by(&self, key: &Key) -> bool {
        let (Some(offset), Some(integrity)) = (self.sha256.or(self.sha1), self.integrity()) else {
            return false;
        };
        let Some((_, value, next)) = attribute_at(self.bytes, offset) else {
            return false;
        };
        key.verify(
            integrity,
            [&with_length(self.bytes, next), &self.bytes[4..offset]],
            value,
        )
    }

    /// The attributes before integrity and fingerprint: type and value.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let bytes = &self.bytes[..self.body_end];
        let mut offset = HEADER;
        std::iter::from_fn(move || {
            let (kind, value, next) = attribute_at(bytes, offset)?;
            offset = next;
            Some((kind, value))
        })
    }

    /// The value of the first attribute of this type; further ones are to be ignored
    /// (RFC 8489 §14).
    pub(crate) fn raw(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes()
            .find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// As [`raw`](Self::raw), for what is to be text.
    pub(crate) fn text(&self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.raw(kind)?).ok()
    }

    /// The first attribute of this type, read.
    pub(crate) fn get<A>(&self) -> Result<Option<A>, BadValue>
    where
        A: AttributeStaticType + for<'r> AttributeFromRaw<'r>,
    {
        self.raw(A::TYPE.value())
            .map(|value| A::from_raw_ref(&RawAttribute::new(A::TYPE, value)).map_err(|_| BadValue))
            .transpose()
    }

    /// All XOR-PEER-ADDRESSes.
    pub(crate) fn peers(&self) -> impl Iterator<Item = Result<SocketAddr, BadValue>> + use<'a> {
        let transaction = self.transaction;
        self.attributes()
            .filter(|(kind, _)| *kind == attribute::XOR_PEER_ADDRESS)
            .map(move |(_, value)| peer_address(value, transaction).ok_or(BadValue))
    }

    /// Attributes the sender says must be understood and are not. At most eight are said.
    pub(crate) fn unknown(&self) -> Unknown {
        let mut unknown = Unknown::default();
        for (kind, _) in self.attributes() {
            let known = kind >= 0x8000 || attribute::UNDERSTOOD.contains(&kind);
            if !known && usize::from(unknown.count) < unknown.types.len() {
                unknown.types[usize::from(unknown.count)] = kind;
                unknown.count += 1;
            }
        }
        unknown
    }
}

/// Types of attributes for UNKNOWN-ATTRIBUTES.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Unknown {
    types: [u16; 8],
    count: u8,
}

impl Unknown {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn to_attribute(self) -> UnknownAttributes {
        let types = self.types[..self.count.into()].iter();
        let types: Vec<_> = types.map(|kind| AttributeType::new(*kind)).collect();
        UnknownAttributes::new(&types)
    }
}

/// Type and value of the attribute at `offset`, and where the next one begins.
fn attribute_at(bytes: &[u8], offset: usize) -> Option<(u16, &[u8], usize)> {
    let (header, rest) = bytes.get(offset..)?.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let padded = length.next_multiple_of(4);
    if padded > rest.len() {
        return None;
    }
    let kind = u16::from_be_bytes([header[0], header[1]]);
    Some((kind, &rest[..length], offset + 4 + padded))
}

/// The first four bytes of a message that ended at `end`: integrity and fingerprint are computed
/// as if nothing followed them.
fn with_length(bytes: &[u8], end: usize) -> [u8; 4] {
    let length = u16::try_from(end - HEADER)
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    [bytes[0], bytes[1], length[0], length[1]]
}

/// The value of a FINGERPRINT that stands after `before` and ends at `end`.
fn fingerprint(before: &[u8], end: usize) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&with_length(before, end));
    crc.update(&before[4..]);
    (crc.finalize() ^ FINGERPRINT_MASK).to_be_bytes()
}

/// As XOR-PEER-ADDRESS is read for every Send indication, by hand and not through `turn-types`.
fn peer_address(value: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0, p1]) ^ 0x2112;
    let ip = match family {
        1 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?.map_with(COOKIE)),
        2 => {
            let bits = u128::from_be_bytes(<[u8; 16]>::try_from(ip).ok()?);
            IpAddr::from((bits ^ xor_key(transaction)).to_be_bytes())
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// What an IPv6 address is XORed with: the cookie and the transaction.
fn xor_key(transaction: TransactionId) -> u128 {
    (u128::from(u32::from_be_bytes(COOKIE)) << 96) | u128::from(transaction)
}

trait MapWith {
    fn map_with(self, key: Self) -> Self;
}

impl MapWith for [u8; 4] {
    fn map_with(self, key: Self) -> Self {
        (u32::from_be_bytes(self) ^ u32::from_be_bytes(key)).to_be_bytes()
    }
}

/// A response under construction. The buffer is large enough for every response of this server;
/// an attribute that did not fit would be left out.
pub(crate) struct Reply<'b>(MessageWriteMutSlice<'b>);

impl<'b> Reply<'b> {
    pub(crate) fn success(
        method: Method,
        transaction: TransactionId,
        buffer: &'b mut [u8],
    ) -> Self {
        Self::new(MessageClass::Success, method, transaction, buffer)
    }

    /// Without a reason phrase: clients do not read it, and forged requests would be amplified.
    pub(crate) fn error(
        method: Method,
        transaction: TransactionId,
        code: u16,
        buffer: &'b mut [u8],
    ) -> Self {
        let mut reply = Self::new(MessageClass::Error, method, transaction, buffer);
        if let Ok(code) = ErrorCode::new(code, "") {
            reply.add(&code);
        }
        reply
    }

    fn new(
        class: MessageClass,
        method: Method,
        transaction: TransactionId,
        buffer: &'b mut [u8],
    ) -> Self {
        let message_type = MessageType::from_class_method(class, method);
        let writer = MessageWriteMutSlice::new(buffer);
        Self(Message::builder(message_type, transaction, writer))
    }

    pub(crate) fn add(&mut self, attribute: &dyn AttributeWrite) {
        let added = self.0.add_attribute(attribute);
        debug_assert!(added.is_ok(), "{:?}", attribute.get_type());
    }

    pub(crate) fn add_raw(&mut self, kind: u16, value: &[u8]) {
        self.add(&RawAttribute::new(AttributeType::new(kind), value));
    }

    pub(crate) fn add_unknown(&mut self, unknown: Unknown) {
        self.add(&unknown.to_attribute());
    }

    /// Signs, and returns the length.
    pub(crate) fn finish(mut self, key: Option<(&Key, Integrity)>, fingerprinted: bool) -> usize {
        if let Some((key, integrity)) = key {
            self.sign(key, integrity);
        }
        if fingerprinted {
            let end = self.0.len();
            let value = fingerprint(self.0.data(), end + 8);
            let kind = AttributeType::new(attribute::FINGERPRINT);
            self.0
                .push_attribute_unchecked(&RawAttribute::new(kind, &value));
        }
        self.0.finish()
    }

    fn sign(&mut self, key: &Key, integrity: Integrity) {
        let start = self.0.len();
        match integrity {
            Integrity::Sha1 => self
                .0
                .push_attribute_unchecked(&MessageIntegrity::new([0; 20])),
            Integrity::Sha256 => match MessageIntegritySha256::new(&[0; 32]) {
                Ok(attribute) => self.0.push_attribute_unchecked(&attribute),
                Err(_) => return,
            },
        }
        let message = self.0.mut_data();
        let (signed, attribute) = message.split_at_mut(start);
        key.sign(integrity, [&[], signed], &mut attribute[4..]);
    }
}

/// What goes before the data of a Data indication (RFC 8656 §11.4), with `length` bytes of data.
/// None for data that would not fit a message.
pub(crate) fn data_head(peer: SocketAddr, length: usize, transaction: u64) -> Option<Head> {
    let address: usize = if peer.is_ipv4() { 8 } else { 20 };
    let data = u16::try_from(length).ok()?;
    let padding = channel_data::padding(length);
    let total = u16::try_from(4 + address + 4 + length + usize::from(padding)).ok()?;
    let mut bytes = [0; Head::LONGEST];
    let mut rest = &mut bytes[..];
    let mut put = |piece: &[u8]| {
        let (place, after) = std::mem::take(&mut rest).split_at_mut(piece.len());
        place.copy_from_slice(piece);
        rest = after;
    };
    put(&[0x00, 0x17]);
    put(&total.to_be_bytes());
    put(&COOKIE);
    put(&[0; 4]);
    put(&transaction.to_be_bytes());
    put(&attribute::XOR_PEER_ADDRESS.to_be_bytes());
    put(&u16::try_from(address).ok()?.to_be_bytes());
    let port = (peer.port() ^ 0x2112).to_be_bytes();
    match peer.ip() {
        IpAddr::V4(ip) => {
            put(&[0, 1, port[0], port[1]]);
            put(&ip.octets().map_with(COOKIE));
        }
        IpAddr::V6(ip) => {
            put(&[0, 2, port[0], port[1]]);
            let key = xor_key(u128::from(transaction).into());
            put(&(u128::from(ip) ^ key).to_be_bytes());
        }
    }
    put(&attribute::DATA.to_be_bytes());
    put(&data.to_be_bytes());
    let len = u8::try_from(HEADER + 4 + address + 4).ok()?;
    Some(Head {
        bytes,
        len,
        padding,
    })
}

#[cfg(test)]
mod tests;
