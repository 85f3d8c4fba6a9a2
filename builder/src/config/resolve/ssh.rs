//! Lines of authorized_keys, sshd(8).

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Key types that OpenSSH takes from authorized_keys.
const TYPES: [&str; 8] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-ed25519-cert-v01@openssh.com",
];

/// Checks a line `[options] type key [comment]`.
///
/// # Errors
/// In words, without the line.
pub(super) fn check(line: &str) -> Result<(), &'static str> {
    if line.contains("PRIVATE KEY") {
        return Err("it is a private key: give the public one, the file that ends in .pub");
    }
    if line.chars().any(char::is_control) {
        return Err("it is more than one line");
    }
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let Some(at) = words.iter().position(|word| TYPES.contains(word)) else {
        return Err("it names no type of key that OpenSSH takes");
    };
    let Some(key) = words.get(at + 1) else { return Err("the key itself is missing") };
    let Ok(blob) = STANDARD.decode(key) else { return Err("the key is not base64") };
    let fields = fields(&blob).ok_or("the key is cut off")?;
    if fields.first() != Some(&words[at].as_bytes()) {
        return Err("the key is of another type than its line says");
    }
    match (words[at], fields.as_slice()) {
        ("ssh-ed25519", [_, point]) if point.len() == 32 => Ok(()),
        ("ssh-ed25519", _) => Err("an ed25519 key has 32 bytes"),
        // 1024 bits are what OpenSSH refuses since 9.x (RequiredRSASize 1024); the sign byte makes 257 of 2048 bits.
        ("ssh-rsa", [_, _, modulus]) if modulus.len() >= 128 => Ok(()),
        ("ssh-rsa", _) => Err("the RSA key is too short"),
        (_, fields) if fields.len() >= 3 => Ok(()),
        _ => Err("the key is cut off"),
    }
}

/// The length-prefixed strings of a key blob (RFC 4253 section 6.6), if they fill it.
fn fields(mut blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut out = Vec::new();
    while !blob.is_empty() {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if length > rest.len() {
            return None;
        }
        let (field, rest) = rest.split_at(length);
        out.push(field);
        blob = rest;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIIgmrnlMLqsJAVpilx2V4D5WLG9CFMGknyiIifJgEN7F";

    #[test]
    fn lines() {
        for good in [
            format!("ssh-ed25519 {KEY}"),
            format!("ssh-ed25519 {KEY} me and my laptop"),
            format!("restrict,from=\"10.0.0.0/8\" ssh-ed25519 {KEY} me"),
        ] {
            assert_eq!(check(&good), Ok(()), "{good}");
        }
        for (bad, why) in [
            (String::new(), "no type"),
            (KEY.to_owned(), "no type"),
            ("ssh-ed25519".to_owned(), "missing"),
            (format!("ssh-ed25519 {}", &KEY[..40]), "cut off"),
            ("ssh-ed25519 !!!".to_owned(), "base64"),
            (format!("ssh-rsa {KEY}"), "another type"),
            (format!("ssh-ed25519 {KEY}\nssh-ed25519 {KEY}"), "more than one line"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(), "private key"),
            ("ssh-dss AAAA".to_owned(), "no type"),
        ] {
            let found = check(&bad).unwrap_err();
            assert!(found.contains(why), "{bad}: {found}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(blob: Vec<u8>) {
            let _ = fields(&blob);
            let _ = check(&format!("ssh-rsa {}", STANDARD.encode(blob)));
        }
    }
}
