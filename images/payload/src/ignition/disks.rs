//! What Ignition refuses of disks, RAID, LUKS and file systems.

use super::rules::{Remarks, list, named, resource, text};
use serde_json::Value;

/// Remarks about `storage`.
pub(super) fn remarks(found: &mut Remarks, storage: &Value, minor: u32) {
    for (index, disk) in list(storage, "disks").iter().enumerate() {
        let place = format!("storage.disks[{index}]");
        found.path(&disk["device"], format!("{place}.device"));
        partitions(found, list(disk, "partitions"), &format!("{place}.partitions"));
    }
    for (index, array) in list(storage, "raid").iter().enumerate() {
        raid(found, array, &format!("storage.raid[{index}]"));
    }
    for (index, volume) in list(storage, "luks").iter().enumerate() {
        luks(found, volume, &format!("storage.luks[{index}]"), minor);
    }
    for (index, filesystem) in list(storage, "filesystems").iter().enumerate() {
        self::filesystem(found, filesystem, &format!("storage.filesystems[{index}]"), minor);
    }
    for (kind, key) in [("disks", "device"), ("raid", "name"), ("luks", "name"), ("filesystems", "device")] {
        found.unique(list(storage, kind), &format!("storage.{kind}"), named(key));
    }
}

fn partitions(found: &mut Remarks, partitions: &[Value], place: &str) {
    let number = |partition: &Value| partition["number"].as_i64().filter(|number| *number != 0);
    let mut gone = false;
    for (index, partition) in partitions.iter().enumerate() {
        let place = format!("{place}[{index}]");
        if number(partition).is_none() && partition["label"].is_null() {
            found.fault(place.clone(), "needs a number or a label");
        }
        if let Some(label) = partition["label"].as_str()
            && (label.len() > 36 || label.contains(':'))
        {
            found.fault(format!("{place}.label"), "has more than 36 bytes, or a colon");
        }
        for key in ["guid", "typeGuid"] {
            if text(partition, key).is_some_and(|guid| !is_guid(guid)) {
                found.fault(format!("{place}.{key}"), "is no GUID");
            }
        }
        if partition["shouldExist"] == false {
            gone = true;
            let others = ["label", "startMiB", "sizeMiB"].iter().any(|key| !partition[*key].is_null())
                || ["guid", "typeGuid"].iter().any(|key| text(partition, key).is_some());
            if others {
                found.fault(place, "is not to exist, and has more than a number");
            }
        }
    }
    if gone && partitions.iter().any(|partition| number(partition).is_none()) {
        found.fault(place, "has partitions that are not to exist: all need a number then");
    }
    found.unique(partitions, place, |partition| number(partition).map(|number| number.to_string()));
    found.unique(partitions, place, named("label"));
    overlaps(found, partitions, place);
}

/// A start of 0 is wherever there is room, and a size of 0 all there is: these are held against nothing.
fn overlaps(found: &mut Remarks, partitions: &[Value], place: &str) {
    let extent = |partition: &Value| {
        let (start, size) = (partition["startMiB"].as_i64()?, partition["sizeMiB"].as_i64()?);
        (start > 0 && size >= 0).then(|| (start, start.saturating_add((size - 1).max(0))))
    };
    for (index, partition) in partitions.iter().enumerate() {
        let Some((start, end)) = extent(partition) else { continue };
        let mut others = partitions[..index].iter().filter_map(extent);
        if others.any(|(other, last)| start <= last && other <= end) {
            found.fault(format!("{place}[{index}]"), "overlaps another");
        }
    }
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn raid(found: &mut Remarks, array: &Value, place: &str) {
    let level = text(array, "level").unwrap_or_default();
    match level {
        "linear" | "raid0" | "0" | "stripe" if array["spares"].as_i64().is_some_and(|spares| spares != 0) => {
            found.fault(format!("{place}.spares"), "are nothing that this level has");
        }
        "linear" | "raid0" | "0" | "stripe" | "raid1" | "1" | "mirror" | "raid4" | "4" | "raid5" | "5" | "raid6"
        | "6" | "raid10" | "10" => {}
        _ => found.fault(format!("{place}.level"), "is no level that Ignition knows"),
    }
    if list(array, "devices").is_empty() {
        found.fault(format!("{place}.devices"), "is empty");
    }
    for (index, device) in list(array, "devices").iter().enumerate() {
        found.path(device, format!("{place}.devices[{index}]"));
    }
}

fn luks(found: &mut Remarks, volume: &Value, place: &str, minor: u32) {
    if text(volume, "name").is_none_or(|name| name.contains('/')) {
        found.fault(format!("{place}.name"), "is empty or has a slash");
    }
    if text(volume, "label").is_some_and(|label| label.len() > 47) {
        found.fault(format!("{place}.label"), "has more than 47 bytes");
    }
    found.path(&volume["device"], format!("{place}.device"));
    resource(found, &volume["keyFile"], &format!("{place}.keyFile"), minor);
}

fn filesystem(found: &mut Remarks, filesystem: &Value, place: &str, minor: u32) {
    found.path(&filesystem["device"], format!("{place}.device"));
    if text(filesystem, "path").is_some() {
        found.path(&filesystem["path"], format!("{place}.path"));
    }
    let says = ["path", "label", "uuid"].iter().any(|key| text(filesystem, key).is_some())
        || ["mountOptions", "options"].iter().any(|key| !list(filesystem, key).is_empty())
        || filesystem["wipeFilesystem"] == true;
    let most = match text(filesystem, "format") {
        None if says => return found.fault(format!("{place}.format"), "is missing"),
        None => return,
        Some("ext4") => 16,
        Some("btrfs") => 256,
        Some("xfs") => 12,
        Some("swap") => 15,
        Some("vfat") => 11,
        Some("none") if minor >= 3 => usize::MAX,
        Some(_) if minor >= 3 => {
            return found.fault(format!("{place}.format"), "is none of ext4, btrfs, xfs, vfat, swap and none");
        }
        Some(_) => return found.fault(format!("{place}.format"), "is none of ext4, btrfs, xfs, vfat and swap"),
    };
    if text(filesystem, "label").is_some_and(|label| label.len() > most) {
        found.fault(format!("{place}.label"), "is longer than this format takes");
    }
}
