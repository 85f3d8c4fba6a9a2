//! PEM (RFC 7468): strict for what this crate writes and what stands in `secrets.yaml`, lenient ([`blocks`]) for files
//! that others made.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::Secret;
use zeroize::Zeroizing;

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a request for one (PKCS#10).
pub const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";
/// Label of a PKCS#8 private key.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Label of a PKIX public key.
pub const PUBLIC_KEY: &str = "PUBLIC KEY";

/// Label of an elliptic-curve key (SEC1, RFC 5915).
pub const EC_PRIVATE_KEY: &str = "EC PRIVATE KEY";
/// Label of an RSA key (PKCS#1).
pub const RSA_PRIVATE_KEY: &str = "RSA PRIVATE KEY";
/// Label of an encrypted PKCS#8 private key.
pub const ENCRYPTED_PRIVATE_KEY: &str = "ENCRYPTED PRIVATE KEY";

/// A block: its label and what it encloses.
pub type Block = (String, Zeroizing<Vec<u8>>);

/// Characters a line, RFC 7468 §2.
const LINE: usize = 64;

/// A text that is not the PEM it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No block, or text outside of one.
    #[error("is not PEM: one block from `-----BEGIN ...-----` to `-----END ...-----` and nothing else")]
    Syntax,
    /// A block of another kind.
    #[error("is PEM, but not of the kind `{0}`")]
    Label(&'static str),
    /// A pass phrase would be needed (RFC 1421 §4.6.1.1, as OpenSSL writes it).
    #[error("is encrypted; `openssl pkey` decrypts it")]
    Encrypted,
    /// Not base64.
    #[error("is PEM, but what it encloses is not base64")]
    Base64,
}

/// Appends one block.
pub fn encode(label: &str, der: &[u8], out: &mut Vec<u8>) {
    // Once, so that no copy of a key is left behind by growing.
    let base64 = der.len().div_ceil(3) * 4;
    out.reserve(base64 + base64 / LINE + 2 * label.len() + 36);
    out.extend_from_slice(b"-----BEGIN ");
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(b"-----\n");
    for bytes in der.chunks(LINE / 4 * 3) {
        let start = out.len();
        out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
        STANDARD.encode_slice(bytes, &mut out[start..]).expect("there is room for it");
        out.push(b'\n');
    }
    out.extend_from_slice(b"-----END ");
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(b"-----\n");
}

/// One block as a secret.
pub fn encode_secret(label: &str, der: &[u8]) -> Secret {
    let mut out = Vec::new();
    encode(label, der, &mut out);
    Secret::new(out)
}

/// The one block of `text`, which must bear `label`.
///
/// # Errors
/// See [`PemError`].
pub fn decode(label: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    match decode_any(text)? {
        (found, der) if found == label => Ok(der),
        _ => Err(PemError::Label(label)),
    }
}

/// The one block of `text` with its label.
///
/// # Errors
/// See [`PemError`].
pub fn decode_any(text: &str) -> Result<Block, PemError> {
    let body = text.trim().strip_prefix("-----BEGIN ").ok_or(PemError::Syntax)?;
    let (found, body) = body.split_once("-----").ok_or(PemError::Syntax)?;
    let (body, end) = body.split_once("-----END ").ok_or(PemError::Syntax)?;
    if end.strip_suffix("-----") != Some(found) {
        return Err(PemError::Syntax);
    }
    Ok((found.to_owned(), contents(body)?))
}

fn contents(body: &str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    if body.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(PemError::Encrypted);
    }
    let mut base64 = Zeroizing::new(Vec::with_capacity(body.len()));
    base64.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    STANDARD.decode(&*base64).map(Zeroizing::new).map_err(|_| PemError::Base64)
}

/// All blocks of `text` with their labels, in order. What stands between them is for people, as `openssl x509 -text` and
/// `openssl pkcs12` write it (RFC 7468 §5.2).
///
/// # Errors
/// No block at all, one without an end, or one that is not base64.
pub fn blocks(text: &str) -> Result<Vec<Block>, PemError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let (label, body) = begun.split_once("-----").ok_or(PemError::Syntax)?;
        let (body, after) = body.split_once(&format!("-----END {label}-----")).ok_or(PemError::Syntax)?;
        found.push((label.to_owned(), contents(body)?));
        rest = after;
    }
    if found.is_empty() { Err(PemError::Syntax) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for length in [1, 47, 48, 49, 96, 138] {
            let der: Vec<u8> = (0..length).collect();
            let mut text = Vec::new();
            encode(CERTIFICATE, &der, &mut text);
            let text = String::from_utf8(text).unwrap();
            assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with("-----END CERTIFICATE-----\n"));
            assert_eq!(*decode(CERTIFICATE, &text).unwrap(), der);
            assert_eq!(*decode(CERTIFICATE, &text.replace('\n', "\r\n")).unwrap(), der);
        }
    }

    #[test]
    fn several_with_words_between() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let text = format!("subject=x\n{}\r\nissuer=y\n{}end", block("EC PARAMETERS"), block(EC_PRIVATE_KEY));
        let found = blocks(&text).unwrap();
        let labels: Vec<_> = found.iter().map(|(label, der)| (label.as_str(), der.len())).collect();
        assert_eq!(labels, [("EC PARAMETERS", 3), (EC_PRIVATE_KEY, 3)]);
        for (bad, why) in [
            ("subject=x", PemError::Syntax),
            ("-----BEGIN X", PemError::Syntax),
            ("-----BEGIN X-----\nAAAA\n-----END Y-----", PemError::Syntax),
            ("-----BEGIN X-----\nA\n-----END X-----", PemError::Base64),
        ] {
            assert_eq!(blocks(bad).err(), Some(why), "{bad}");
        }
    }

    #[test]
    fn refused() {
        let good = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(decode(CERTIFICATE, good).is_ok());
        for (bad, why) in [
            ("", PemError::Syntax),
            ("AAAA", PemError::Syntax),
            (&good.replace("END CERT", "END SERT"), PemError::Syntax),
            (&good.repeat(2), PemError::Syntax),
            (&format!("{good}x"), PemError::Syntax),
            (&good.replace("CERTIFICATE", "PRIVATE KEY"), PemError::Label(CERTIFICATE)),
            (&good.replace("AAAA", "AAA"), PemError::Base64),
            (&good.replace("AAAA", "Comment: x\n\nAAAA"), PemError::Base64),
        ] {
            assert_eq!(decode(CERTIFICATE, bad), Err(why), "{bad:?}");
        }
    }
}
