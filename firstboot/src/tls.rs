//! TLS configurations out of PEM, and dates as people and files write them.

use anyhow::{Context as _, bail};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{ParsedCertificate, WebPkiClientVerifier},
};
use std::sync::Arc;
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// Verifies servers by `ca`, presents `identity` (certificates, key: the same bytes where one file holds both).
///
/// # Errors
/// What is no PEM, or does not fit together.
pub fn client(ca: &[u8], identity: Option<(&[u8], &[u8])>) -> anyhow::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context("choosing TLS versions")?
        .with_root_certificates(roots(ca)?);
    let config = match identity {
        Some((cert, key)) => {
            builder.with_client_auth_cert(chain(cert)?, private_key(key)?).context("taking the client certificate")?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Takes every server whose certificate `ca` has signed, whatever its dates and names say.
///
/// # Errors
/// What is no PEM, or does not fit together.
pub fn client_of_any_age(ca: &[u8]) -> anyhow::Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context("choosing TLS versions")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(SignedBy { roots: roots(ca)?, provider: provider() }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Verifies who signed a chain, and that the server has its key; no dates, no names.
#[derive(Debug)]
struct SignedBy {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SignedBy {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(own)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let verify = |at| verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, others, at, algorithms);
        // Dates are looked at before signatures: so at a date that the certificate is good for.
        let verdict = match verify(now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after: at, .. })) => {
                verify(at)
            }
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before: at, .. })) => {
                verify(at)
            }
            verdict => verdict,
        };
        verdict.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Presents a certificate, and asks for one by the same CA.
///
/// # Errors
/// What is no PEM, or does not fit together.
pub fn server(ca: &[u8], cert: &[u8], key: &[u8]) -> anyhow::Result<Arc<ServerConfig>> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
        .build()
        .context("taking the CA")?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context("choosing TLS versions")?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(cert)?, private_key(key)?)
        .context("taking the server certificate")?;
    Ok(Arc::new(config))
}

/// Whether the pair in `pem` is good for a client now: signed by `ca`, neither too young nor too old, with its key.
pub fn is_good_client(ca: &[u8], pem: &[u8], now: std::time::Duration) -> bool {
    let verify = || -> anyhow::Result<()> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider()).build()?;
        let chain = chain(pem)?;
        let (own, others) = chain.split_first().context("no certificate")?;
        verifier.verify_client_cert(own, others, UnixTime::since_unix_epoch(now))?;
        private_key(pem).map(|_| ())
    };
    verify().is_ok()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().context("reading certificates")?;
    if chain.is_empty() {
        bail!("no certificate in the PEM");
    }
    Ok(chain)
}

fn private_key(pem: &[u8]) -> anyhow::Result<PrivateKeyDer<'static>> {
    // The error says what is wrong with the form, never what stands there.
    PrivateKeyDer::from_pem_slice(pem).context("reading a private key")
}

fn roots(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in chain(pem)? {
        store.add(certificate).context("taking a CA certificate")?;
    }
    Ok(store)
}

/// A time as RFC 3339 has it.
pub fn date(unix: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{unix} s after 1970"))
}

/// A time to the microsecond, as the API server's MicroTime has it.
pub fn micro_date(time: std::time::Duration) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    i128::try_from(time.as_nanos())
        .ok()
        .and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok())
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00.000000Z".to_owned())
}

/// A time as the kubelet's certificate manager puts it into file names.
pub fn file_date(unix: i64) -> String {
    let format = format_description!("[year]-[month]-[day]-[hour]-[minute]-[second]");
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| "1970-01-01-00-00-00".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(file_date(1_700_000_000), "2023-11-14-22-13-20");
        assert_eq!(micro_date(std::time::Duration::from_millis(1500)), "1970-01-01T00:00:01.500000Z");
        assert!(date(i64::MAX).contains("after 1970"));
    }
}
