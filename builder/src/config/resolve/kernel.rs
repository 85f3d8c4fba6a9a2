//! kernel: modules, sysctls, swap.

use super::Cx;
use crate::config::{
    Kernel, code,
    diag::Finding,
    raw::RawKernel,
    read::{At, Field},
    values::NumberOrText,
};
use nodekiln_plan::{Cidr, ModuleName, Sysctl, SysctlKey};
use std::collections::BTreeMap;

/// Settings that a node needs in clusters with IPv4 (`false`) or IPv6 (`true`), the value and why.
const NEEDED: [(bool, &str, &str, &str); 6] = [
    (false, "net.ipv4.ip_forward", "1", "pods reach other nodes by it"),
    (false, "net.ipv4.conf.all.forwarding", "1", "pods reach other nodes by it"),
    (true, "net.ipv6.conf.all.forwarding", "1", "pods reach other nodes by it"),
    (true, "net.ipv6.conf.default.forwarding", "1", "pods reach other nodes by it"),
    (false, "net.bridge.bridge-nf-call-iptables", "1", "services are reached through it"),
    (true, "net.bridge.bridge-nf-call-ip6tables", "1", "services are reached through it"),
];

/// kernel as one layer says it.
#[derive(Default)]
pub(super) struct KernelLayer {
    modules: Option<Vec<ModuleName>>,
    /// With whether `floor` is said.
    sysctls: BTreeMap<SysctlKey, (Sysctl, bool)>,
    swap: Option<bool>,
}

impl KernelLayer {
    /// What a copy of it weighs, in units of 32 bytes.
    pub(super) fn weight(&self) -> usize {
        let values = self.sysctls.values().map(|(sysctl, _)| 5 + sysctl.value.len() / 32);
        2 * self.modules.as_ref().map_or(0, Vec::len) + values.sum::<usize>()
    }

    /// `base` with this layer over it: modules replace, sysctls merge by name. One that was a floor and is said again without
    /// a word about that stays one, as long as its value can be.
    pub(super) fn over(&self, base: &Self) -> Kernel {
        let mut sysctls: BTreeMap<_, _> = base.sysctls.iter().map(|(key, (sysctl, _))| (key, sysctl.clone())).collect();
        for (key, (own, says_floor)) in &self.sysctls {
            let floor = match sysctls.get(key) {
                Some(below) if !says_floor => below.floor && own.value.parse::<i64>().is_ok(),
                _ => own.floor,
            };
            sysctls.insert(key, Sysctl { floor, ..own.clone() });
        }
        Kernel {
            modules: self.modules.clone().or_else(|| base.modules.clone()).unwrap_or_default(),
            sysctls: sysctls.into_values().collect(),
            swap: self.swap.or(base.swap).unwrap_or(false),
        }
    }
}

impl Cx<'_, '_> {
    pub(super) fn kernel_layer(&mut self, field: &Field<RawKernel>, families: &[Cidr]) -> KernelLayer {
        let Some(raw) = field.get() else { return KernelLayer::default() };
        let mut layer = KernelLayer { swap: raw.swap.get().map(|at| at.value), ..KernelLayer::default() };
        if let Some(list) = raw.modules.get() {
            let mut seen = BTreeMap::new();
            let mut modules = Vec::new();
            for at in &list.value {
                let Some(name) = self.parse::<ModuleName>(at) else { continue };
                if self.once(&mut seen, name.value.clone(), &name.place, "this module") {
                    modules.push(name.value);
                }
            }
            layer.modules = Some(modules);
        }
        let mut seen = BTreeMap::new();
        for at in raw.sysctls.get().into_iter().flat_map(|list| &list.value) {
            let name = at.name.required("name", &at.place, self.found);
            let value = at.value.value.required("value", &at.place, self.found);
            let name = name.and_then(|name| self.sysctl_key(name));
            let floor = at.floor.get().is_some_and(|b| b.value);
            let text = value.and_then(|value| self.sysctl_value(value, at.floor.get().filter(|_| floor)));
            let Some(name) = name else { continue };
            if !self.once(&mut seen, name.value.clone(), &name.place, "this setting") {
                continue;
            }
            let (Some(value), Some(text)) = (value, text) else { continue };
            let here = |v6: bool| families.iter().any(|net| net.is_ipv6() == v6);
            let needed = NEEDED.iter().find(|(v6, key, ..)| *key == name.as_str() && here(*v6));
            if let Some((_, key, due, why)) = needed
                && text != *due
            {
                let finding = Finding::new(code::SYSCTL, format!("`{key}` has to be {due}: {why}"));
                self.found.error_at(&value.place, finding.hint("leave it out"));
                continue;
            }
            let sysctl = Sysctl { name: name.value.clone(), value: text, floor };
            layer.sysctls.insert(name.value, (sysctl, !at.floor.is_unset()));
        }
        layer
    }

    /// A value as sysctl has it: one line, words by single spaces.
    fn sysctl_value(&mut self, value: &At<NumberOrText>, floor: Option<&At<bool>>) -> Option<String> {
        let text = value.value.0.trim();
        if text.is_empty() || text.chars().any(|c| c.is_control() && c != '\t') {
            let finding = Finding::new(code::VALUE, "a setting's value is one line of text");
            self.found.error_at(&value.place, finding.hint("write a number, or several in quotes"));
            return None;
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(floor) = floor
            && text.parse::<i64>().is_err()
        {
            let finding = Finding::new(code::SYSCTL, "only a single whole number can be a floor")
                .second(value.place.span, "this is none")
                .hint("leave `floor` out: the value is set as it is");
            self.found.error_at(&floor.place, finding);
            return None;
        }
        Some(text)
    }

    fn sysctl_key(&mut self, at: &At<String>) -> Option<At<SysctlKey>> {
        // sysctl.d(5): with a slash as the first separator, slashes and dots change places.
        if let (Some(slash), dot) = (at.value.find('/'), at.value.find('.'))
            && dot.is_none_or(|dot| slash < dot)
        {
            self.bad(at, "the parts of a setting's name are separated by dots");
            return None;
        }
        self.parse(at)
    }
}
