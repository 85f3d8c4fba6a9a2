//! Certificates for tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

/// One CA, and a certificate that is server and client.
pub struct Pki {
    /// PEM.
    pub ca: String,
    /// PEM.
    pub cert: String,
    /// PEM.
    pub key: String,
}

/// A CA and a certificate for these addresses.
pub fn pki(names: &[&str]) -> Pki {
    many(&[names]).remove(0)
}

/// A certificate for each list of addresses, by one CA.
pub fn many(nodes: &[&[&str]]) -> Vec<Pki> {
    until(nodes, 4000)
}

/// Good until that year.
pub fn until(nodes: &[&[&str]], year: i32) -> Vec<Pki> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    nodes
        .iter()
        .map(|names| {
            let mut leaf = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
            leaf.not_after = date_time_ymd(year, 1, 1);
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate().unwrap();
            let cert = leaf.signed_by(&key, &ca).unwrap();
            Pki { ca: ca.pem(), cert: cert.pem(), key: key.serialize_pem() }
        })
        .collect()
}
