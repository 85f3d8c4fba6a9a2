//! Tests of certificates: every field read back.

use super::*;

/// `der` with another subject and issuer, signed again.
pub(crate) fn with_name(der: &[u8], name: &[u8], key: &KeyPair) -> Vec<u8> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let old = certificate.subject().as_raw();
    let tbs = certificate.tbs_certificate.as_ref();
    let (content, _) = der_sequence(tbs).unwrap();
    let mut body = Vec::new();
    let mut rest = content;
    while let Some(offset) = rest.windows(old.len()).position(|window| window == old) {
        body.extend_from_slice(&rest[..offset]);
        body.extend_from_slice(name);
        rest = &rest[offset + old.len()..];
    }
    body.extend_from_slice(rest);
    // A draft again: serial number 0.
    let serial_end = 5 + 2 + usize::from(body[6]);
    body.splice(5..serial_end, *b"\x02\x01\x00");
    let mut tbs = Vec::new();
    der_header(0x30, body.len(), &mut tbs);
    tbs.extend_from_slice(&body);
    let mut draft = Vec::new();
    der_header(0x30, tbs.len(), &mut draft);
    draft.extend_from_slice(&tbs);
    finish(&draft, key)
}
