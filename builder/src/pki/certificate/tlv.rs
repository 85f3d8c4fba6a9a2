//! Elements of DER: the `der` crate reads and writes them, here they are cut off and nested.

use der::{Decode as _, Encode as _, Header, Length, Tag, Tagged as _, asn1::AnyRef};

/// The element at the start of `text`, and what follows it.
pub(super) fn element(text: &[u8]) -> Option<(AnyRef<'_>, &[u8])> {
    AnyRef::from_der_partial(text).ok()
}

/// Content of the SEQUENCE at the start of `text`, and what follows it.
pub(super) fn sequence(text: &[u8]) -> Option<(&[u8], &[u8])> {
    element(text).filter(|(element, _)| element.tag() == Tag::Sequence).map(|(element, rest)| (element.value(), rest))
}

/// The element at the start of `text`, with its tag and length, and what follows it.
pub(super) fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = element(text)?;
    Some(text.split_at(text.len() - rest.len()))
}

/// Appends an element whose content `write` appends.
pub(super) fn nest(tag: Tag, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    const LENGTH: &str = "the longest list of names in a certificate is bounded by cluster.yaml";
    let start = out.len();
    write(out);
    let end = out.len();
    let header = Header::new(tag, Length::try_from(end - start).expect(LENGTH));
    header.encode_to_vec(out).expect(LENGTH);
    // The header goes before what it is about.
    let length = out.len() - end;
    out[start..].rotate_right(length);
}

/// Appends an element.
pub(super) fn put(tag: Tag, content: &[u8], out: &mut Vec<u8>) {
    nest(tag, out, |out| out.extend_from_slice(content));
}
