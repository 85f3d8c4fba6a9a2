//! os.units: systemd units of the user's own.

use super::Cx;
use crate::config::{
    Common, OsUnit, code,
    diag::Finding,
    raw::{List, RawUnit},
    read::{At, Field},
    shown::short,
    values::Hidden,
};
use nodekiln_payload::Profile;
use nodekiln_plan::UnitName;
use std::collections::BTreeMap;

/// A unit as one layer says it.
#[derive(Clone)]
pub(super) struct UnitLayer {
    /// Not enabled where that is not said.
    pub(super) unit: Common<OsUnit>,
    says_enabled: bool,
}

impl UnitLayer {
    /// What this says over what `base` says of the same unit: drop-ins by name.
    fn over(self, base: &Self) -> Self {
        let (own, below) = (&self.unit, &base.unit);
        let enabled = if self.says_enabled { own.enabled } else { below.enabled };
        if enabled == own.enabled && below.dropins.is_empty() && (own.content.is_some() || below.content.is_none()) {
            return Self { says_enabled: self.says_enabled || base.says_enabled, ..self };
        }
        let dropins: BTreeMap<_, _> = below.dropins.iter().chain(&own.dropins).cloned().collect();
        let unit = OsUnit {
            name: own.name.clone(),
            enabled,
            content: own.content.clone().or_else(|| below.content.clone()),
            dropins: dropins.into_iter().collect(),
        };
        Self { unit: unit.into(), says_enabled: true }
    }
}

/// Units by name.
pub(super) type Units = BTreeMap<UnitName, At<UnitLayer>>;

impl Cx<'_, '_> {
    /// The units of a node: `own` over `base`.
    pub(super) fn lay_units(&mut self, base: &[At<UnitLayer>], own: &[At<UnitLayer>]) -> Units {
        let by_name = |at: &At<UnitLayer>| (at.value.unit.name.clone(), at.clone());
        let mut units: Units = base.iter().map(by_name).collect();
        for At { value, place } in own {
            let name = value.unit.name.clone();
            let (whole, judged) = match units.get(&name) {
                None => (value.clone(), true),
                Some(At { value: below, .. }) => {
                    // With its text, each layer's own word about whether it is enabled was judged.
                    let judged = if value.unit.content.is_some() { &value.unit } else { &below.unit };
                    (value.clone().over(below), judged.enabled)
                }
            };
            if !judged
                && whole.unit.enabled
                && let Some(text) = &whole.unit.content
                && let Some(why) = nodekiln_payload::unit_fault(text, true)
            {
                let finding = Finding::new(code::VALUE, format!("not a unit that can be enabled: {why}"));
                self.found.error_at(place, finding);
            }
            units.insert(name, At { value: whole, place: place.clone() });
        }
        units
    }

    /// What one layer says.
    pub(super) fn units(&mut self, field: &Field<List<RawUnit>>) -> Vec<At<UnitLayer>> {
        let mut units = Vec::new();
        let mut seen = BTreeMap::new();
        for at in field.get().into_iter().flat_map(|list| &list.value) {
            let name = at.name.required("name", &at.place, self.found).and_then(|name| self.parse::<UnitName>(name));
            let mut dropins = Vec::new();
            let mut dropin_names = BTreeMap::new();
            for dropin in at.dropins.get().into_iter().flat_map(|list| &list.value) {
                let file = dropin.name.required("name", &dropin.place, self.found);
                let content = dropin.content.required("content", &dropin.place, self.found);
                let Some(file) = file else { continue };
                let stem = file.value.strip_suffix(".conf").unwrap_or("");
                if stem.is_empty() || file.value.len() > 255 || file.value.chars().any(|c| c == '/' || c.is_control()) {
                    self.bad(file, "a drop-in is a file name that ends in .conf");
                    continue;
                }
                if stem.contains("nodekiln") {
                    let finding = Finding::new(code::RESERVED, "names with `nodekiln` are its own");
                    self.found.error_at(&file.place, finding);
                    continue;
                }
                self.once(&mut dropin_names, file.value.clone(), &file.place, "this drop-in");
                if let Some(content) = content {
                    self.unit_text(content, false);
                    dropins.push((file.value.clone(), content.value.0.clone()));
                }
            }
            if let Some(content) = at.content.get() {
                self.unit_text(content, at.enabled.get().is_some_and(|b| b.value));
            }
            let Some(name) = name else { continue };
            self.once(&mut seen, name.value.clone(), &name.place, "this unit");
            let unit = OsUnit {
                name: name.value,
                enabled: at.enabled.get().is_some_and(|b| b.value),
                content: at.content.get().map(|content| content.value.0.clone()),
                dropins,
            };
            let says_enabled = !at.enabled.is_unset();
            units.push(At { value: UnitLayer { unit: unit.into(), says_enabled }, place: name.place });
        }
        units
    }

    fn unit_text(&mut self, at: &At<Hidden>, enabled: bool) {
        if let Some(why) = nodekiln_payload::unit_fault(&at.value.0, enabled) {
            self.found
                .error_at(&at.place, Finding::new(code::VALUE, format!("not a unit that can be laid down: {why}")));
        }
    }

    pub(super) fn check_units(&mut self, profile: Option<&Profile>, units: &Units) {
        for (name, at) in units {
            let text = name.as_str();
            let why = if text == "kubelet.service" || text.starts_with("nodekiln") {
                "it is nodekiln's own"
            } else if profile.is_some_and(|p| p.containerd_unit == *name) && at.value.unit.content.is_some() {
                "the image has it: change it by `dropins`"
            } else if at.value.unit.enabled && profile.is_some_and(|p| p.mask.contains(name)) {
                "nodekiln masks it on this profile"
            } else {
                continue;
            };
            let finding =
                Finding::new(code::RESERVED, format!("the unit `{}` is not yours to set: {why}", short(text)));
            self.found.error_at(&at.place, finding);
        }
    }
}
