//! [`Frame`]: what all leaves of one kind have in common, written once.

use super::{CertificateError, Subject, tlv};
use crate::{config::San, pki::key::KeyPair};
use der::{Tag, TagNumber, Tagged as _, oid::ObjectIdentifier};
use nodekiln_plan::Sha256;
use std::{
    net::{IpAddr, Ipv4Addr},
    slice,
};

/// Extensions that are each leaf's own (RFC 5280 §4.2.1.6 and §4.2.1.2).
const ALTERNATIVE_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
/// Attributes of a name.
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The extensions of a TBSCertificate.
const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
/// Alternatives of GeneralName.
const DNS_NAME: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(2) };
const IP_ADDRESS: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(7) };

/// Alternative names of the leaf that a frame is cut from, which has to have some.
pub(super) const SOME_NAME: &[San] = slice::from_ref(&San::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)));

/// A leaf's TBSCertificate without what tells it from the next: rcgen's, cut where the subject, the public key, its
/// identifier and the alternative names stood.
pub(super) struct Frame {
    /// From the algorithm of the signature to the validity.
    head: Vec<u8>,
    /// Extensions before the alternative names, from there to the key's identifier, and after it.
    extensions: [Vec<u8>; 3],
}

impl Frame {
    /// Cuts up a draft of rcgen's with [`SOME_NAME`], to be signed by `ca` in the name of `issuer`.
    ///
    /// # Errors
    /// A draft that is put together in another way.
    pub fn cut(draft: &[u8], issuer: &[u8], ca: &KeyPair) -> Result<Self, CertificateError> {
        let rest = super::after_algorithm(draft, ca)?;
        let parts = || {
            let (_, rest) = tlv::split(rest)?;
            let (validity, rest) = tlv::split(rest)?;
            let (_, rest) = tlv::split(rest)?;
            let (_, rest) = tlv::split(rest)?;
            let (list, rest) = tlv::element(rest)?;
            if list.tag() != EXTENSIONS || !rest.is_empty() {
                return None;
            }
            let (mut list, _) = tlv::sequence(list.value())?;
            let mut extensions = [const { Vec::new() }; 3];
            let mut place = 0;
            while !list.is_empty() {
                let (extension, after) = tlv::split(list)?;
                let (content, _) = tlv::sequence(extension)?;
                let (name, _) = tlv::element(content)?;
                match (place, name.decode_as().ok()?) {
                    (0, ALTERNATIVE_NAMES) | (1, KEY_IDENTIFIER) => place += 1,
                    _ => extensions[place].extend_from_slice(extension),
                }
                list = after;
            }
            let head = [ca.signature_algorithm(), issuer, validity].concat();
            (place == 2).then_some(Self { head, extensions })
        };
        parts().ok_or(CertificateError::Frame)
    }

    /// All that follows the serial number in the leaf of `subject` whose public key is `spki`.
    ///
    /// # Errors
    /// A name that no certificate can hold.
    pub fn fill(&self, subject: &Subject<'_>, spki: &[u8]) -> Result<Vec<u8>, CertificateError> {
        if let Some(name) = subject.sans.iter().find_map(|san| match san {
            San::Dns(name) if !name.is_ascii() => Some(name),
            San::Dns(_) | San::Ip(_) => None,
        }) {
            return Err(CertificateError::Name(name.clone()));
        }
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(&self.head);
        tlv::nest(Tag::Sequence, &mut out, |out| {
            // Go's order, which kubeadm's certificates have.
            if let Some(organization) = subject.organization {
                attribute(ORGANIZATION, organization, out);
            }
            attribute(COMMON_NAME, subject.common_name, out);
        });
        out.extend_from_slice(spki);
        let [first, second, third] = &self.extensions;
        tlv::nest(EXTENSIONS, &mut out, |out| {
            tlv::nest(Tag::Sequence, out, |out| {
                out.extend_from_slice(first);
                if !subject.sans.is_empty() {
                    extension(ALTERNATIVE_NAMES, out, |out| {
                        tlv::nest(Tag::Sequence, out, |out| subject.sans.iter().for_each(|san| general_name(san, out)));
                    });
                }
                out.extend_from_slice(second);
                // As rcgen makes it. RFC 5280 §4.2.1.2 leaves the method open.
                let digest = Sha256::of(spki);
                extension(KEY_IDENTIFIER, out, |out| tlv::put(Tag::OctetString, &digest.as_bytes()[..20], out));
                out.extend_from_slice(third);
            });
        });
        Ok(out)
    }
}

/// Appends a name of one attribute.
fn attribute(oid: ObjectIdentifier, value: &str, out: &mut Vec<u8>) {
    tlv::nest(Tag::Set, out, |out| {
        tlv::nest(Tag::Sequence, out, |out| {
            tlv::put(Tag::ObjectIdentifier, oid.as_bytes(), out);
            tlv::put(Tag::Utf8String, value.as_bytes(), out);
        });
    });
}

/// Appends an extension that need not be understood.
fn extension(oid: ObjectIdentifier, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    tlv::nest(Tag::Sequence, out, |out| {
        tlv::put(Tag::ObjectIdentifier, oid.as_bytes(), out);
        tlv::nest(Tag::OctetString, out, write);
    });
}

fn general_name(san: &San, out: &mut Vec<u8>) {
    match san {
        San::Dns(name) => tlv::put(DNS_NAME, name.as_bytes(), out),
        San::Ip(IpAddr::V4(ip)) => tlv::put(IP_ADDRESS, &ip.octets(), out),
        San::Ip(IpAddr::V6(ip)) => tlv::put(IP_ADDRESS, &ip.octets(), out),
    }
}
