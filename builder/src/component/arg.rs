//! Command lines: kubeadm's rule for extraArgs over defaults.

use crate::{
    config::Arg,
    release::{Behaviour, Release},
};

/// `--name=value` for each default and override (kubeadm's `ArgumentsToCommand`).
///
/// Defaults are sorted by name; one whose name is overridden is dropped; overrides follow in the user's order,
/// duplicates kept. Releases before that rule sorted the whole.
pub(crate) fn arguments<T: AsRef<str>>(defaults: &[(&str, T)], overrides: &[Arg], release: Release) -> Vec<String> {
    let mut kept: Vec<(&str, &str)> = defaults
        .iter()
        .map(|(name, value)| (*name, value.as_ref()))
        .filter(|(name, _)| !overrides.iter().any(|over| over.name == *name))
        .collect();
    kept.sort_unstable();
    kept.extend(overrides.iter().map(|over| (over.name.as_str(), over.value.as_str())));
    if !release.has(Behaviour::ExtraArgsOrder) {
        kept.sort_unstable();
    }
    kept.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

/// The value that counts among `args`: the last of that name, as pflag takes it.
pub(crate) fn last<'a>(args: &'a [Arg], name: &str) -> Option<&'a str> {
    args.iter().rev().find(|arg| arg.name == name).map(|arg| arg.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(list: &[(&str, &str)]) -> Vec<Arg> {
        list.iter().map(|(name, value)| Arg { name: (*name).into(), value: (*value).into() }).collect()
    }

    #[test]
    fn overrides() {
        let defaults = [("b", "1"), ("a", "2"), ("c", "3")];
        for (over, version, want) in [
            (vec![], "v1.36.0", "--a=2 --b=1 --c=3"),
            (vec![("z", "9"), ("b", "8"), ("b", "7"), ("d", "")], "v1.36.0", "--a=2 --c=3 --z=9 --b=8 --b=7 --d="),
            (vec![("z", "9"), ("b", "8"), ("b", "7")], "v1.35.0", "--a=2 --b=7 --b=8 --c=3 --z=9"),
        ] {
            let release = Release::find(version.parse().unwrap()).unwrap();
            assert_eq!(arguments(&defaults, &args(&over), release).join(" "), want, "{version}");
        }
    }

    #[test]
    fn the_last_value_counts() {
        let list = args(&[("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!((last(&list, "a"), last(&list, "c")), (Some("3"), None));
    }
}
