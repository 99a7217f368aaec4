//! RFC 3161 time stamps: when a signature existed, according to an authority whose certificate is in the trusted root.

use ring::digest::{self, Algorithm};

use super::Refusal;
use super::certificate::Certificate;
use super::root::{Authority, TIME_STAMPING};
use crate::der::{self, Reader};

/// The identifiers of signed data, of the content of a time stamp, and of the attributes with its type and its digest.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const TIMESTAMP: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// The prefix of the identifiers of SHA-256, SHA-384 and SHA-512; one more byte follows.
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// The tags of optional parts, by their numbers: content or certificates or attributes, and revocations.
const FIRST: u8 = 0xa0;
const SECOND: u8 = 0xa1;

/// The time in a stamp, in seconds since 1970, if it is a stamp of this signature by one of the authorities.
pub fn verify(stamp: &[u8], signature: &[u8], authorities: &[Authority]) -> Result<u64, Refusal> {
    let stamp = Stamp::read(stamp).ok_or(Refusal::Timestamp("it cannot be read"))?;
    if digest::digest(stamp.imprint.0, signature).as_ref() != stamp.imprint.1 {
        return Err(Refusal::Timestamp("it is a time stamp of something else"));
    }
    if digest::digest(stamp.digest.0, stamp.content).as_ref() != stamp.digest.1 {
        return Err(Refusal::Timestamp("its content is not what was signed"));
    }
    // The attributes are signed as a SET (RFC 5652, 5.4).
    let mut message = stamp.attributes.to_vec();
    message[0] = der::SET;
    let is_of = |authority: &&Authority| {
        let signer = authority.certificates.first();
        let key = signer.and_then(|der| Certificate::read(der)).and_then(|certificate| certificate.key());
        key.is_some_and(|key| key.verifies(&message, stamp.signature))
    };
    let authority = authorities.iter().find(is_of);
    let authority = authority.ok_or(Refusal::Timestamp("its signature was not made by a trusted authority"))?;
    let signer = &authority.certificates[0];
    if authority.issued(signer, stamp.time, TIME_STAMPING).is_none() {
        return Err(Refusal::Timestamp("its authority was not trusted at that time"));
    }
    Ok(stamp.time)
}

/// A time stamp that was parsed; nothing in it is verified.
struct Stamp<'a> {
    /// The whole content.
    content: &'a [u8],
    /// The digest of the stamped data.
    imprint: (&'static Algorithm, &'a [u8]),
    time: u64,
    /// The signed attributes as a whole.
    attributes: &'a [u8],
    /// The digest of the content, from the attributes.
    digest: (&'static Algorithm, &'a [u8]),
    signature: &'a [u8],
}

impl<'a> Stamp<'a> {
    /// Parses an authority's answer (RFC 3161, 2.4.2) that contains a stamp with one signer.
    fn read(answer: &'a [u8]) -> Option<Stamp<'a>> {
        let mut outer = Reader(answer);
        let mut answer = Reader(outer.expect(der::SEQUENCE)?);
        let status = Reader(answer.expect(der::SEQUENCE)?).expect(der::INTEGER)?;
        // Granted, unchanged or with modifications.
        if !outer.0.is_empty() || !matches!(status, [0 | 1]) {
            return None;
        }
        let mut token = Reader(answer.expect(der::SEQUENCE)?);
        token.expect(der::OBJECT).filter(|id| *id == SIGNED_DATA)?;
        let mut data = Reader(Reader(token.expect(FIRST)?).expect(der::SEQUENCE)?);
        data.expect(der::INTEGER)?;
        data.expect(der::SET)?;
        let mut inside = Reader(data.expect(der::SEQUENCE)?);
        inside.expect(der::OBJECT).filter(|id| *id == TIMESTAMP)?;
        let content = Reader(inside.expect(FIRST)?).expect(der::OCTET_STRING)?;
        let _certificates = data.optional(FIRST);
        let _revocations = data.optional(SECOND);
        let mut signers = Reader(data.expect(der::SET)?);
        let mut signer = Reader(signers.expect(der::SEQUENCE)?);
        if !signers.0.is_empty() {
            return None;
        }
        signer.expect(der::INTEGER)?;
        // The signature itself shows who signed.
        let _name = signer.read()?;
        let algorithm = algorithm(signer.expect(der::SEQUENCE)?)?;
        let attributes = signer.whole(FIRST)?;
        signer.expect(der::SEQUENCE)?;
        let signature = signer.expect(der::OCTET_STRING)?;
        let kind = attribute(attributes, CONTENT_TYPE)?;
        Reader(kind).expect(der::OBJECT).filter(|id| *id == TIMESTAMP)?;
        let digest = (algorithm, Reader(attribute(attributes, MESSAGE_DIGEST)?).expect(der::OCTET_STRING)?);
        let (imprint, time) = read_content(content)?;
        Some(Stamp { content, imprint, time, attributes, digest, signature })
    }
}

/// The digest of the stamped data, and the time.
fn read_content(content: &[u8]) -> Option<((&'static Algorithm, &[u8]), u64)> {
    let mut outer = Reader(content);
    let mut said = Reader(outer.expect(der::SEQUENCE)?);
    said.expect(der::INTEGER)?;
    said.expect(der::OBJECT)?;
    let mut imprint = Reader(said.expect(der::SEQUENCE)?);
    let imprint = (algorithm(imprint.expect(der::SEQUENCE)?)?, imprint.expect(der::OCTET_STRING)?);
    said.expect(der::INTEGER)?;
    let time = said.time()?;
    outer.0.is_empty().then_some((imprint, time))
}

fn algorithm(identifier: &[u8]) -> Option<&'static Algorithm> {
    match Reader(identifier).expect(der::OBJECT)?.strip_prefix(SHA2)? {
        [1] => Some(&digest::SHA256),
        [2] => Some(&digest::SHA384),
        [3] => Some(&digest::SHA512),
        _ => None,
    }
}

/// The only value of an attribute that occurs once.
fn attribute<'a>(attributes: &'a [u8], id: &[u8]) -> Option<&'a [u8]> {
    let mut list = Reader(Reader(attributes).expect(FIRST)?);
    let mut found = None;
    while !list.0.is_empty() {
        let mut attribute = Reader(list.expect(der::SEQUENCE)?);
        if attribute.expect(der::OBJECT)? == id && found.replace(attribute.expect(der::SET)?).is_some() {
            return None;
        }
    }
    found
}
