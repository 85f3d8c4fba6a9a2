//! Takes secrets out of texts that a failing test prints.

/// `text` without private keys, key data of kubeconfigs, tokens and passwords.
///
/// It errs on the side of hiding: what it shows is for a log that anybody may read.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if line.contains("PRIVATE KEY-----") {
            let begins = line.contains("-----BEGIN");
            let ends = line.contains("-----END");
            if begins && !in_key {
                shown.push_str("[private key]\n");
            }
            in_key = begins && !ends;
            continue;
        }
        if !in_key {
            line.split_inclusive(char::is_whitespace).for_each(|word| shown.push_str(&redact_word(word)));
        }
    }
    hide_values(&shown)
}

/// Names whose value is hidden wherever they end a YAML, JSON or argument key.
const KEYS: [&str; 7] = ["client-key-data", "token-secret", "leafSeed", "password", "bearer-token", "secret", "token"];

fn hide_values(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| {
            let Some((at, key)) = KEYS
                .iter()
                .flat_map(|key| line.match_indices(key).map(move |(at, _)| (at, *key)))
                .min_by_key(|(at, _)| *at)
            else {
                return line.to_owned();
            };
            let after = line[at + key.len()..].trim_start_matches(['"', '\'']);
            let Some(value) = after.strip_prefix([':', '=']) else {
                return line.to_owned();
            };
            // An object or list under such a key (a volume named "secret") is no secret itself.
            let value = value.trim_start();
            if value.is_empty() || value.starts_with(['{', '[']) {
                return line.to_owned();
            }
            let end = if line.ends_with('\n') { "\n" } else { "" };
            format!("{}: [hidden]{end}", &line[..at + key.len()])
        })
        .collect()
}

/// A word without its JSON web token or bootstrap token.
fn redact_word(word: &str) -> String {
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let jwt = core.len() > 60 && core.contains("eyJ") && core.matches('.').count() >= 2;
    let encoded_key = core.len() > 100 && core.contains("LS0tLS1CRUdJTi");
    if jwt || encoded_key || is_bootstrap_token(core) { word.replace(core, "[hidden]") } else { word.to_owned() }
}

/// `abcdef.0123456789abcdef`, as Kubernetes defines it.
fn is_bootstrap_token(word: &str) -> bool {
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    word.split_once('.').is_some_and(|(id, secret)| id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let text = "before\n-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\nafter\n\
                    client-key-data: QUJD\njoin with abcdef.0123456789abcdef now\n{\"token\":\"xyz\"}\n";
        let shown = redact(text);
        for secret in ["AAAA", "QUJD", "0123456789abcdef", "xyz"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        for word in ["before\n", "after\n", "[private key]", "join with", " now"] {
            assert!(shown.contains(word), "{shown}");
        }
    }

    #[test]
    fn plain_texts_are_untouched() {
        for text in ["", "one line", "volumes: secret: {name: x}\n", "a\nb\n", "Ready 10.77.0.1:6443\n"] {
            assert_eq!(redact(text), text);
        }
    }
}
