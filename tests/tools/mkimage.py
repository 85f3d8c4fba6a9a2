#!/usr/bin/env python3
"""Writes a folder as a container image: an OCI layout in a tar, one gzip layer.

usage: mkimage.py OUT.tar FOLDER CONFIG NAME:TAG...

CONFIG is the JSON of an image's `config` (Env, Entrypoint, User, ...). Everything
belongs to root and has no time, so the same folder gives the same digest. `ctr
images import` gives the image exactly the names listed.
"""

import gzip
import hashlib
import io
import json
import os
import platform
import sys
import tarfile

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


def layer(folder):
    """The folder as an uncompressed tar, in sorted order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for parent, folders, files in os.walk(folder):
            folders.sort()
            for name in sorted(files + folders):
                path = os.path.join(parent, name)
                entry = tar.gettarinfo(path, os.path.relpath(path, folder))
                entry.uid = entry.gid = entry.mtime = 0
                entry.uname = entry.gname = ""
                if entry.isreg():
                    with open(path, "rb") as content:
                        tar.addfile(entry, content)
                else:
                    tar.addfile(entry)
    return out.getvalue()


def main():
    out, folder, config, *names = sys.argv[1:]
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def blob(content, media_type, **more):
        digest = hashlib.sha256(content).hexdigest()
        files["blobs/sha256/" + digest] = content
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content), **more}

    def document(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    tar = layer(folder)
    # Compressed because a node keeps the blob beside the unpacked files.
    layers = [blob(gzip.compress(tar, 1, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")]
    image = {
        "architecture": ARCHITECTURE[platform.machine()],
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": json.loads(config),
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
    }
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = blob(
        document(
            {
                "schemaVersion": 2,
                "mediaType": manifest_type,
                "config": blob(document(image), "application/vnd.oci.image.config.v1+json"),
                "layers": layers,
            }
        ),
        manifest_type,
    )
    files["index.json"] = document(
        {
            "schemaVersion": 2,
            "manifests": [
                {
                    **manifest,
                    "annotations": {
                        "io.containerd.image.name": name,
                        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
                    },
                }
                for name in names
            ],
        }
    )
    with tarfile.open(out, "w") as archive:
        for path in sorted(files):
            entry = tarfile.TarInfo(path)
            entry.size = len(files[path])
            archive.addfile(entry, io.BytesIO(files[path]))


if __name__ == "__main__":
    main()
