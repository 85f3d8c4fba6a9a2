//! The stub: where the machine finds its configuration, and what that has to be.
//!
//! `ignition.config.replace` with a hash makes the transport's integrity irrelevant, not its secrecy. The certificate
//! authorities stay in force while Ignition fetches what the child names (`docs/operator-notes.md`, "Merging").

use crate::{
    error::{DecodeError, EncodeError},
    options::EncodeOptions,
    tree::{Artifact, Verification},
    validate::{is_hex, url_is_sound},
};
use ignition_config::v3_4 as spec;
use sha2::Digest as _;

/// The name of the artifact.
const POINTER: &str = "pointer.ign";

/// What a stub says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Where the configuration is served.
    pub source: String,
    /// SHA-512 of the configuration, 128 lower-case hex digits.
    pub sha512: String,
    /// Certificate authorities of the server, PEM; `None` for those of the initramfs.
    pub ca: Option<Vec<u8>>,
}

impl Pointer {
    /// Points at `config`, which is served at `source`.
    pub fn to(config: &Artifact, source: String, ca: Option<Vec<u8>>) -> Self {
        Self { source, sha512: hex::encode(sha2::Sha512::digest(config.bytes.expose())), ca }
    }

    /// The stub.
    ///
    /// # Errors
    /// A source that is no http or https URL, or a hash that is none.
    pub fn encode(&self, options: &EncodeOptions) -> Result<Artifact, EncodeError> {
        if !url_is_sound(&self.source) {
            return Err(EncodeError::Pointer("the source is no http or https URL"));
        }
        if !is_hex(&self.sha512, 128) {
            return Err(EncodeError::Pointer("the hash is not 128 lower-case hex digits"));
        }
        let mut config = spec::Config::default();
        let replace = spec::Resource {
            source: Some(self.source.clone()),
            verification: Some(spec::Verification { hash: Some(format!("sha512-{}", self.sha512)) }),
            ..Default::default()
        };
        config.ignition.config = Some(spec::IgnitionConfig { merge: None, replace: Some(replace) });
        config.ignition.security = self.ca.as_deref().map(super::security);
        Ok(Artifact { name: POINTER, bytes: super::render(config, options)? })
    }

    /// Reads a stub.
    ///
    /// # Errors
    /// Anything that [`Pointer::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let config = super::decode::parse(bytes)?;
        let bare = spec::Config::new(config.ignition.clone());
        if config != bare {
            return Err(DecodeError::unexpected(POINTER, "more than the section `ignition`"));
        }
        let spec::Ignition { config, proxy: None, security, timeouts: None, version: _ } = config.ignition else {
            return Err(DecodeError::unexpected(POINTER, "proxy or timeouts"));
        };
        let Some(spec::IgnitionConfig { merge: None, replace: Some(replace) }) = config else {
            return Err(DecodeError::unexpected(POINTER, "ignition.config"));
        };
        let spec::Resource { compression: None, http_headers: None, source: Some(source), verification } = replace
        else {
            return Err(DecodeError::unexpected(POINTER, "ignition.config.replace"));
        };
        if !url_is_sound(&source) {
            return Err(DecodeError::unexpected(POINTER, "ignition.config.replace.source"));
        }
        let hash = verification.and_then(|verification| super::decode::verification(&verification.hash?));
        let Some(Verification::Sha512(sha512)) = hash else {
            return Err(DecodeError::unexpected(POINTER, "hash"));
        };
        let ca = security.map(super::decode::authority).transpose()?;
        Ok(Self { source, sha512, ca })
    }

    /// Whether `config` is what the stub asks for.
    pub fn matches(&self, config: &Artifact) -> bool {
        hex::encode(sha2::Sha512::digest(config.bytes.expose())) == self.sha512
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::IgnitionVersion;
    use nodekiln_plan::Secret;

    fn pointer() -> Pointer {
        let config = Artifact { name: super::super::CONFIG, bytes: Secret::new(b"{}".to_vec()) };
        let ca = Some(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".to_vec());
        Pointer::to(&config, "https://10.0.0.1:8080/x/config.ign".into(), ca)
    }

    #[test]
    fn round_trip() {
        for version in IgnitionVersion::ALL {
            for ca in [pointer().ca, None] {
                let pointer = Pointer { ca, ..pointer() };
                let options = EncodeOptions { ignition_version: version, ..Default::default() };
                let stub = pointer.encode(&options).unwrap();
                assert_eq!(stub.name, "pointer.ign");
                assert_eq!(Pointer::decode(stub.bytes.expose()).unwrap(), pointer);
                assert!(pointer.matches(&Artifact { name: "config.ign", bytes: Secret::new(b"{}".to_vec()) }));
                assert!(!pointer.matches(&stub));
            }
        }
    }

    #[test]
    fn what_is_refused() {
        for source in ["", "ftp://a/b", "https://", "https://a b/", "data:,a"] {
            let pointer = Pointer { source: source.into(), ..pointer() };
            assert!(matches!(pointer.encode(&EncodeOptions::default()), Err(EncodeError::Pointer(_))), "{source:?}");
        }
        let pointer = Pointer { sha512: "AB".repeat(64), ..pointer() };
        assert!(matches!(pointer.encode(&EncodeOptions::default()), Err(EncodeError::Pointer(_))));
        for (text, what) in [
            (r#"{"ignition":{"version":"3.3.0"}}"#, "ignition.config"),
            (r#"{"ignition":{"version":"3.3.0","config":{"replace":{"source":"http://a/"}}}}"#, "hash"),
            (
                r#"{"ignition":{"version":"3.3.0","config":{"replace":{"source":"data:,"}}}}"#,
                "ignition.config.replace.source",
            ),
            (r#"{"ignition":{"version":"3.3.0"},"systemd":{}}"#, "more than the section `ignition`"),
        ] {
            assert_eq!(Pointer::decode(text.as_bytes()), Err(DecodeError::unexpected("pointer.ign", what)));
        }
    }
}
