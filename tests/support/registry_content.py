"""Images made by hand and put into a registry, without an engine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

import httpx

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def put_blob(address: str, repository: str, data: bytes) -> dict[str, Any]:
    """Upload a blob as any client does; its descriptor."""
    begun = httpx.post(f"http://{address}/v2/{repository}/blobs/uploads/")
    at = httpx.URL(begun.headers["location"]).copy_merge_params({"digest": _digest(data)})
    httpx.put(at, content=data, headers={"content-type": "application/octet-stream"}).raise_for_status()
    return {"digest": _digest(data), "size": len(data)}


def put_manifest(address: str, name: str, tag: str, manifest: dict[str, Any]) -> str:
    """Its digest."""
    done = httpx.put(
        f"http://{address}/v2/{name}/manifests/{tag}",
        content=json.dumps(manifest).encode(),
        headers={"content-type": manifest["mediaType"]},
    )
    return done.raise_for_status().headers["docker-content-digest"]


def entry_for(address: str, name: str, digest: str, platform: dict[str, str]) -> dict[str, Any]:
    """A manifest as an index lists it."""
    size = len(
        httpx.get(f"http://{address}/v2/{name}/manifests/{digest}", headers={"accept": MANIFEST}).content
    )
    return {"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform}


def put_image(address: str, name: str, tag: str, config: dict[str, Any], *layers: bytes) -> str:
    """An image of these (compressed) layers, or of none, which no engine would pull; its digest."""
    blob = put_blob(address, name, json.dumps(config).encode()) | {"mediaType": _CONFIG}
    stored = [put_blob(address, name, layer) | {"mediaType": _LAYER} for layer in layers]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": stored, "config": blob}
    return put_manifest(address, name, tag, manifest)


def put_image_for_arm(address: str, name: str, tag: str) -> None:
    """An image that only linux/arm64 runs; as `index` it is the one entry of a list."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    platform = {"os": "linux", "architecture": "arm64"}
    rootfs = {"type": "layers", "diff_ids": [_digest(file.getvalue())]}
    digest = put_image(
        address, name, tag, platform | {"config": {}, "rootfs": rootfs}, gzip.compress(file.getvalue())
    )
    if tag == "index":
        listed = [entry_for(address, name, digest, platform)]
        put_manifest(address, name, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
