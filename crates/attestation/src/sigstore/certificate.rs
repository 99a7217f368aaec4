//! The contents of a certificate (RFC 5280) and of the extensions that Fulcio adds. Who issued it, and whether its
//! signature is valid, is checked by [`Authority::issued`](super::root::Authority::issued).

use crate::der::{self, Reader, element};
use crate::keys::PublicKey;

/// The tag of the version, which all present-day certificates have.
const VERSION: u8 = 0xa0;
/// The tag of the extensions.
const EXTENSIONS: u8 = 0xa3;

/// The extension with the signer's alternative names (RFC 5280, 4.2.1.6), in which Fulcio puts the identity.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// The extension with the proofs that the certificate was published (RFC 6962, 3.3).
const SCTS: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02];
/// Fulcio's extension that names the issuer of the identity, 1.3.6.1.4.1.57264.1.8, and the older one, whose content is
/// the plain text, 1.3.6.1.4.1.57264.1.1.
const ISSUER: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x08];
const OLD_ISSUER: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x01];
/// The type of Fulcio's other name (`otherName`), for identities that are neither e-mail addresses nor URIs,
/// 1.3.6.1.4.1.57264.1.7.
const OTHER_NAME: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x07];

/// The tags of names: another name, an e-mail address, a URI.
const NAME_OTHER: u8 = 0xa0;
const NAME_EMAIL: u8 = 0x81;
const NAME_URI: u8 = 0x86;

/// A certificate that was parsed; nothing in it is verified.
pub struct Certificate<'a> {
    /// The period in which it is valid, in seconds since 1970.
    validity: (u64, u64),
    /// The signer's key.
    spki: &'a [u8],
    /// The signed part up to the extensions.
    before_extensions: &'a [u8],
    extensions: Vec<Extension<'a>>,
}

struct Extension<'a> {
    id: &'a [u8],
    /// The whole extension.
    whole: &'a [u8],
    value: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// A certificate from its DER; `None` if it is not of version 3, or has an extension twice.
    pub fn read(der: &'a [u8]) -> Option<Certificate<'a>> {
        let mut outer = Reader(der);
        let mut certificate = Reader(outer.expect(der::SEQUENCE)?);
        let signed = certificate.expect(der::SEQUENCE)?;
        if !outer.0.is_empty() {
            return None;
        }
        let mut reader = Reader(signed);
        reader.expect(VERSION)?;
        reader.expect(der::INTEGER)?;
        let [_algorithm, _issuer] = [reader.expect(der::SEQUENCE)?, reader.expect(der::SEQUENCE)?];
        let mut validity = Reader(reader.expect(der::SEQUENCE)?);
        let validity = (validity.time()?, validity.time()?);
        let _subject = reader.expect(der::SEQUENCE)?;
        let spki = reader.whole(der::SEQUENCE)?;
        let before_extensions = &signed[..signed.len() - reader.0.len()];
        let mut list = Reader(Reader(reader.expect(EXTENSIONS)?).expect(der::SEQUENCE)?);
        if !reader.0.is_empty() {
            return None;
        }
        let mut extensions: Vec<Extension<'a>> = Vec::new();
        while !list.0.is_empty() {
            let whole = list.whole(der::SEQUENCE)?;
            let mut extension = Reader(Reader(whole).expect(der::SEQUENCE)?);
            let id = extension.expect(der::OBJECT)?;
            let _critical = extension.optional(0x01);
            let value = extension.expect(der::OCTET_STRING)?;
            if extensions.iter().any(|other| other.id == id) {
                return None;
            }
            extensions.push(Extension { id, whole, value });
        }
        Some(Certificate { validity, spki, before_extensions, extensions })
    }

    fn extension(&self, id: &[u8]) -> Option<&'a [u8]> {
        self.extensions.iter().find(|extension| extension.id == id).map(|extension| extension.value)
    }

    /// Whether a time, in seconds since 1970, lies within its validity.
    pub fn is_valid_at(&self, time: u64) -> bool {
        (self.validity.0..=self.validity.1).contains(&time)
    }

    /// The period in which it is valid, in seconds since 1970.
    pub fn validity(&self) -> (u64, u64) {
        self.validity
    }

    /// The key, if its type is supported.
    pub fn key(&self) -> Option<PublicKey> {
        PublicKey::from_spki(self.spki).ok()
    }

    /// The identity: a URI, an e-mail address or Fulcio's other name, if the certificate has exactly one name.
    pub fn identity(&self) -> Option<&'a str> {
        let mut names = Reader(self.extension(ALTERNATIVE_NAMES)?);
        let mut list = Reader(names.expect(der::SEQUENCE)?);
        let (tag, content) = list.read()?;
        if !list.0.is_empty() || !names.0.is_empty() {
            return None;
        }
        let text = match tag {
            NAME_EMAIL | NAME_URI => content,
            NAME_OTHER => {
                let mut other = Reader(content);
                other.expect(der::OBJECT).filter(|id| *id == OTHER_NAME)?;
                Reader(other.expect(0xa0)?).expect(der::UTF8_STRING)?
            }
            _ => return None,
        };
        printable(text)
    }

    /// The issuer that authenticated the identity when the certificate was issued.
    pub fn issuer(&self) -> Option<&'a str> {
        match self.extension(ISSUER) {
            Some(value) => printable(Reader(value).expect(der::UTF8_STRING)?),
            None => printable(self.extension(OLD_ISSUER)?),
        }
    }

    /// The proofs that it was published, in the form of a TLS list.
    pub fn scts(&self) -> Option<&'a [u8]> {
        let mut reader = Reader(self.extension(SCTS)?);
        reader.expect(der::OCTET_STRING).filter(|_| reader.0.is_empty())
    }

    /// The data that was submitted to the certificate log before these proofs existed: the signed part without them.
    pub fn before_scts(&self) -> Vec<u8> {
        let others = self.extensions.iter().filter(|extension| extension.id != SCTS);
        let others: Vec<u8> = others.flat_map(|extension| extension.whole).copied().collect();
        let extensions = element(EXTENSIONS, &element(der::SEQUENCE, &others));
        element(der::SEQUENCE, &[self.before_extensions, &extensions].concat())
    }
}

fn printable(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok().filter(|text| !text.is_empty() && !text.contains(char::is_control))
}
