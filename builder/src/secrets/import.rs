//! Secrets from the `pki/` folder of a cluster that kubeadm made, or from CAs that somebody else runs.

use super::{
    CaEntry, CaOptions, NewError, Secrets,
    make::{new_ca, new_key},
};
use crate::pki::{
    certificate::{CaCertificate, CaDoubt, CaError, Signer, is_issuer},
    key::KeyPair,
    pem,
    table::Ca,
};
use nodekiln_plan::Secret;
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// The files that are looked for, by kubeadm's names below its `certificatesDir`.
pub const FILES: [&str; 8] =
    ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub"];

/// What was imported.
#[derive(Debug)]
pub struct Imported {
    /// The secrets.
    pub secrets: Secrets,
    /// What came from where, one line each.
    pub notes: Vec<String>,
    /// What may be wrong.
    pub warnings: Vec<String>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError<E> {
    /// Everything that is wrong with the files, each line beginning with a file's name.
    #[error("{}", .0.join("\n"))]
    Files(Vec<String>),
    /// The rest could not be made.
    #[error(transparent)]
    New(#[from] NewError<E>),
}

/// Makes secrets of `files`, by name; what is not among them is made new. A CA without its key is somebody else's: it is
/// trusted, and `build` refuses what it would have to sign.
///
/// # Errors
/// See [`ImportError`]: all faults of all files at once.
pub fn import<E>(
    files: &BTreeMap<&str, Secret>,
    options: CaOptions,
    mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Imported, ImportError<E>> {
    let mut reader = Reader { files, now: options.now, faults: Vec::new(), notes: Vec::new(), warnings: Vec::new() };
    let mut authorities = BTreeMap::new();
    for ca in Ca::ALL {
        let (certificate, key) = names(ca);
        authorities.insert(ca, reader.ca(ca, certificate, key));
    }
    let service_account = reader.service_account();
    if !reader.faults.is_empty() {
        return Err(ImportError::Files(reader.faults));
    }
    let (mut notes, warnings) = (reader.notes, reader.warnings);
    let mut whole = BTreeMap::new();
    for (ca, entries) in authorities {
        let entries = match entries {
            Some(entries) => entries,
            None => {
                notes.push(format!("{} CA: made new, there is no {}", ca.name(), names(ca).0));
                vec![new_ca(ca, options, &mut random)?]
            }
        };
        whole.insert(ca, entries);
    }
    let service_account = match service_account {
        Some(key) => key,
        None => {
            notes.push("service-account key: made new, there is no sa.key".to_owned());
            new_key(options.algorithm, &mut random)?
        }
    };
    let secrets = Secrets::with(whole, service_account, options.now, &mut random)?;
    // Whatever else secrets.yaml may not hold, such as one key for two CAs, shows when it is read again.
    if let Err(findings) = Secrets::parse(secrets.to_vec().expose()) {
        let faults = findings.0.into_iter().map(|finding| format!("{} {}", finding.path, finding.message));
        return Err(ImportError::Files(faults.collect()));
    }
    Ok(Imported { secrets, notes, warnings })
}

/// The one certificate of a PEM file that a CA elsewhere sent, DER.
///
/// # Errors
/// What else it is, in words.
pub fn certificate(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "is not PEM: it is not even text (DER? `openssl x509 -inform DER` converts it)".to_owned())?;
    let blocks = pem::blocks(text).map_err(|error| error.to_string())?;
    match &blocks[..] {
        [(label, der)] if label == pem::CERTIFICATE => Ok(der.to_vec()),
        _ if blocks.iter().any(|(label, _)| label != pem::CERTIFICATE) => {
            Err("holds something else than a certificate".to_owned())
        }
        _ => Err(format!(
            "holds {} certificates, not one: an intermediate CA that signs has to be the CA in the secrets (`secrets \
             import` or `rotate-ca --certificate`), alone, without its issuer",
            blocks.len()
        )),
    }
}

/// The files of a CA: certificate and key.
fn names(ca: Ca) -> (&'static str, &'static str) {
    match ca {
        Ca::Kubernetes => ("ca.crt", "ca.key"),
        Ca::FrontProxy => ("front-proxy-ca.crt", "front-proxy-ca.key"),
        Ca::Etcd => ("etcd/ca.crt", "etcd/ca.key"),
    }
}

/// A CA that takes the place of another one.
#[derive(Clone)]
pub struct NewCa(pub(super) CaEntry);

/// Reads a CA that is to take the place of `ca`, at the time `now`: its certificate, and its key where it is to sign here.
/// With what may be wrong with it.
///
/// # Errors
/// Everything that is wrong with the files, each line beginning with `certificate` or `key`.
pub fn new_ca_of(
    ca: Ca,
    certificate: Secret,
    key: Option<Secret>,
    now: i64,
) -> Result<(NewCa, Vec<String>), Vec<String>> {
    let mut files = BTreeMap::from([("certificate", certificate)]);
    files.extend(key.map(|key| ("key", key)));
    let mut reader = Reader { files: &files, now, faults: Vec::new(), notes: Vec::new(), warnings: Vec::new() };
    let entries = reader.ca(ca, "certificate", "key").unwrap_or_default();
    if entries.len() > 1 {
        reader.fault("certificate", "holds several certificates; give the one that is to issue, without its issuer");
    }
    match entries.into_iter().next() {
        Some(entry) if reader.faults.is_empty() => Ok((NewCa(entry), reader.warnings)),
        _ => Err(reader.faults),
    }
}

struct Reader<'a> {
    files: &'a BTreeMap<&'a str, Secret>,
    now: i64,
    faults: Vec<String>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn fault(&mut self, file: &str, message: impl std::fmt::Display) {
        self.faults.push(format!("{file}: {message}"));
    }

    fn warn(&mut self, file: &str, message: impl std::fmt::Display) {
        self.warnings.push(format!("{file}: {message}"));
    }

    /// The text of a file, if it is there.
    fn text(&mut self, file: &'static str) -> Option<&str> {
        let text = std::str::from_utf8(self.files.get(file)?.expose());
        if text.is_err() {
            self.fault(
                file,
                "is not PEM: it is not even text (DER? `openssl x509 -inform DER` or `openssl pkey` converts it)",
            );
        }
        text.ok()
    }

    /// The CA in these files; `None` where there is neither, or a fault.
    fn ca(&mut self, ca: Ca, certificate_file: &'static str, key_file: &'static str) -> Option<Vec<CaEntry>> {
        if !self.files.contains_key(certificate_file) {
            if self.files.contains_key(key_file) {
                self.fault(key_file, format!("there is no {certificate_file}: half a pair is no CA"));
            }
            return None;
        }
        let certificates = self.bundle(certificate_file);
        let key = match self.files.contains_key(key_file) {
            true => Some(self.key(key_file)?),
            false => None,
        };
        let mut entries: Vec<CaEntry> = Vec::new();
        for (number, der) in certificates?.into_iter().enumerate() {
            let place =
                if number == 0 { certificate_file.to_owned() } else { format!("{certificate_file} ({})", number + 1) };
            // The first belongs to the key, as kubeadm reads such a file; the others are trusted.
            let key = key.clone().filter(|_| number == 0);
            let opened = match key.clone() {
                Some(key) => Signer::open(&der, key).map(|signer| signer.certificate().clone()),
                None => CaCertificate::parse(&der),
            };
            match opened {
                Ok(certificate) => {
                    self.check(ca, &place, number == 0, &certificate);
                    if entries.iter().any(|entry| entry.certificate == der) {
                        self.warn(&place, "is there twice; once is enough");
                        continue;
                    }
                    let issued = |entry: &CaEntry| {
                        entry.certificate != der
                            && CaCertificate::parse(&entry.certificate).is_ok_and(|known| known.is_intermediate())
                            && is_issuer(&der, &entry.certificate)
                    };
                    if entries.first().is_some_and(issued) {
                        let message = "issued the CA that is first: its other CAs are trusted too; leave it out, an \
                                       intermediate CA is trusted without its issuer";
                        self.warn(&place, message);
                    }
                }
                Err(CaError::OtherKey) => {
                    self.fault(key_file, format!("does not belong to {certificate_file}: their public keys differ"))
                }
                Err(error) => self.fault(&place, error),
            }
            entries.push(CaEntry { certificate: der, key, rotation: None });
        }
        let how = match (&key, entries.len()) {
            (None, _) => " without its key: it issues nothing here, and `secrets requests` asks for what it has to \
                             sign"
                .to_owned(),
            (Some(key), 1) => format!(", {}", key.algorithm_name()),
            (Some(key), count) => format!(", {}, and {} more that are trusted", key.algorithm_name(), count - 1),
        };
        self.notes.push(format!("{} CA: from {certificate_file}{how}", ca.name()));
        Some(entries)
    }

    /// Times, and what strict verifiers would refuse.
    fn check(&mut self, ca: Ca, place: &str, issues: bool, certificate: &CaCertificate) {
        let validity = certificate.validity;
        let date = |time| {
            OffsetDateTime::from_unix_timestamp(time).map_or_else(|_| time.to_string(), |at| at.date().to_string())
        };
        if validity.not_after <= self.now {
            let message = format!("the {} CA's certificate ended {}", ca.name(), date(validity.not_after));
            match issues {
                true => self.fault(place, format!("{message}: nothing that it signs would be trusted")),
                false => self.warn(place, message),
            }
        }
        if validity.not_before > self.now {
            self.warn(place, format!("begins only {}: no node can boot before", date(validity.not_before)));
        }
        for doubt in &certificate.doubts {
            if *doubt == CaDoubt::Intermediate && !issues {
                continue;
            }
            self.warn(place, doubt);
        }
    }

    /// The certificates of a file, DER, in its order.
    fn bundle(&mut self, file: &'static str) -> Option<Vec<Vec<u8>>> {
        let blocks = match pem::blocks(self.text(file)?) {
            Ok(blocks) => blocks,
            Err(error) => {
                self.fault(file, error);
                return None;
            }
        };
        if let Some((label, _)) = blocks.iter().find(|(label, _)| label != pem::CERTIFICATE) {
            let private = label.ends_with("PRIVATE KEY");
            let hint = if private { "; a key goes into the file beside it" } else { "" };
            self.fault(file, format!("holds something else than certificates{hint}"));
            return None;
        }
        Some(blocks.into_iter().map(|(_, der)| der.to_vec()).collect())
    }

    /// The one private key of a file. OpenSSL writes the parameters of a curve before it.
    fn key(&mut self, file: &'static str) -> Option<KeyPair> {
        let key = match pem::blocks(self.text(file)?) {
            Err(error) => Err(error.to_string()),
            Ok(mut blocks) => {
                blocks.retain(|(label, _)| label != "EC PARAMETERS");
                match &blocks[..] {
                    [(label, der)] => KeyPair::from_block(label, der).map_err(|error| error.to_string()),
                    _ => Err("does not hold one private key and nothing else".to_owned()),
                }
            }
        };
        key.map_err(|error| self.fault(file, error)).ok()
    }

    /// kubeadm needs the private half alone: it makes the public one of it.
    fn service_account(&mut self) -> Option<KeyPair> {
        let (private, public) = ("sa.key", "sa.pub");
        if !self.files.contains_key(private) {
            if self.files.contains_key(public) {
                self.fault(public, format!("there is no {private}: half a pair signs no tokens"));
            }
            return None;
        }
        let key = self.key(private)?;
        if self.files.contains_key(public) {
            let blocks = pem::blocks(self.text(public)?);
            match blocks.as_deref() {
                Ok([(label, der)]) if label == pem::PUBLIC_KEY && **der == key.spki() => {}
                Ok([(label, _)]) if label == pem::PUBLIC_KEY => {
                    self.fault(public, format!("does not belong to {private}: their public keys differ"));
                }
                Ok(_) => self.fault(public, "does not hold one `PUBLIC KEY` and nothing else"),
                Err(error) => self.fault(public, error),
            }
        }
        self.notes.push(format!("service-account key: from {private}, {}", key.algorithm_name()));
        Some(key)
    }
}

#[cfg(test)]
mod tests;
