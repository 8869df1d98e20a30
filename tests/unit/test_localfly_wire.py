"""localfly.wire: image references in Fly's parts."""

import json
from pathlib import Path
from typing import Any

import pytest

from localfly.wire import image_ref_json

SAMPLE = Path(__file__).parents[1] / "reference" / "fly-fixtures" / "docs-create-machine-created.json"
DIGEST = "sha256:" + "1" * 64


def test_a_recorded_reference_is_parted_as_recorded() -> None:
    """Fly's own sample."""
    machine = json.loads(SAMPLE.read_text())
    recorded = machine["image_ref"]
    assert image_ref_json(machine["config"]["image"], recorded["digest"], recorded["labels"]) == recorded


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("ubuntu", {"registry": "registry-1.docker.io", "repository": "library/ubuntu", "tag": "latest"}),
        ("flyio/x:2", {"registry": "registry-1.docker.io", "repository": "flyio/x", "tag": "2"}),
        ("localhost:5000/a/b:1", {"registry": "localhost:5000", "repository": "a/b", "tag": "1"}),
        (
            f"registry.fly.io/app@{DIGEST}",
            {"registry": "registry.fly.io", "repository": "app", "digest": DIGEST},
        ),
        (
            f"registry.fly.io/app:t@{DIGEST}",
            {"registry": "registry.fly.io", "repository": "app", "tag": "t", "digest": DIGEST},
        ),
    ],
)
def test_references_are_parted_by_docker_s_rule(reference: str, parts: dict[str, Any]) -> None:
    """A first part with a dot, a colon or the name localhost is a registry."""
    assert image_ref_json(reference, "", {}) == parts | {"labels": {}}
