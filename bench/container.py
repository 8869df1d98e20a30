"""The action's image: what it weighs, and how long `docker run` takes to the first API call."""

from __future__ import annotations

import gzip
import io
import json
import statistics
import subprocess
import tarfile
import tempfile
from pathlib import Path

from bench.startup import fly, our_environment, seconds
from tests.support import engines


def missing() -> str:
    """Why it cannot be measured here; empty when it can."""
    return engines.ENGINES["docker"]()


def measure(runs: int = 7) -> dict[str, float]:
    """`{image_mb, first_call_s}`: all layers as a registry keeps them, in MB; median of the runs."""
    image = engines.action_image()
    found = []
    with fly() as url, tempfile.TemporaryDirectory() as workspace:
        environ = our_environment(url, Path(workspace))
        # On the host's network, as loopback is where the server is.
        command = ["docker", "run", "--rm", "--network", "host", "--volume", f"{workspace}:{workspace}"]
        command += [word for name in environ for word in ("--env", name)]
        for _ in range(runs + 1):
            first_call_s, _ = seconds([*command, image], environ)
            found.append(first_call_s)
    return {"image_mb": compressed_mb(image), "first_call_s": statistics.median(found[1:])}


def compressed_mb(image: str, above: str = "") -> float:
    """The sum of an image's layers, compressed one by one; without those of the image it is made from."""
    below = len(_layers(above)) if above else 0
    return sum(len(gzip.compress(layer, 6)) for layer in _layers(image)[below:]) / 1e6


def _layers(image: str) -> list[bytes]:
    saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        manifest = json.loads(_member(archive, "manifest.json"))
        return [_member(archive, name) for name in manifest[0]["Layers"]]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
