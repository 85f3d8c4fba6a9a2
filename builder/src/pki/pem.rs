//! PEM (RFC 7468), strict: what this crate writes and what stands in `secrets.yaml`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::Secret;
use zeroize::Zeroizing;

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a PKCS#8 private key.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Label of a PKIX public key.
pub const PUBLIC_KEY: &str = "PUBLIC KEY";

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
    /// Not base64.
    #[error("is PEM, but what it encloses is not base64")]
    Base64,
}

/// Appends one block.
pub fn encode(label: &str, der: &[u8], out: &mut Vec<u8>) {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    // Once, so that no copy of a key is left behind by growing.
    out.reserve(base64.len() + base64.len() / LINE + 2 * label.len() + 36);
    out.extend_from_slice(b"-----BEGIN ");
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(b"-----\n");
    for line in base64.as_bytes().chunks(LINE) {
        out.extend_from_slice(line);
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
    let body = text.trim().strip_prefix("-----BEGIN ").ok_or(PemError::Syntax)?;
    let (found, body) = body.split_once("-----").ok_or(PemError::Syntax)?;
    let (body, end) = body.split_once("-----END ").ok_or(PemError::Syntax)?;
    if end.strip_suffix("-----") != Some(found) {
        return Err(PemError::Syntax);
    }
    if found != label {
        return Err(PemError::Label(label));
    }
    let mut base64 = Zeroizing::new(Vec::with_capacity(body.len()));
    base64.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    STANDARD.decode(&*base64).map(Zeroizing::new).map_err(|_| PemError::Base64)
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
