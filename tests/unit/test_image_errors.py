"""What a failed build tells the user to do."""

from __future__ import annotations

import pytest

from flaude_action.image_errors import build_failed
from flaude_action.machine_dockerfile import GUEST

NO_SHELL = (
    'OCI runtime create failed: runc create failed: unable to start container process: '
    'exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown'
)  # fmt: skip
UNFIT = "flaude-action cannot use this base image: it is built on musl, like Alpine"
NON_ZERO = "The command '/bin/sh -c make' returned a non-zero code: 2"
FULL = "write /layer.tar: no space left on device"


@pytest.mark.parametrize(
    ("code", "said", "tail", "details", "hint"),
    [
        (1, NO_SHELL, NO_SHELL, "has no /bin/sh", "docs/images.md"),
        (1, NON_ZERO, f"{UNFIT}\n{NON_ZERO}", "cannot be used for a machine", "docs/images.md"),
        (2, NON_ZERO, NON_ZERO, "exit code 2", "last lines"),
        (1, FULL, FULL, "disk is full", "Free space"),
    ],
    ids=["no shell", "unfit", "command", "disk"],
)
def test_a_failed_build_says_what_to_do(code: int, said: str, tail: str, details: str, hint: str) -> None:
    """Whose fault it is, from the engine's words or our own; the words themselves stay in the log."""
    error = build_failed(code, said, tail)
    assert (error.type, error.returncode, error.stderr) == ("image_build_failed", code, tail)
    assert details in error.details
    assert hint in error.hint
    assert "musl" not in error.details


def test_refusals_are_known_by_their_beginning() -> None:
    """The build's scripts begin a refusal as it is looked for here."""
    beginning = UNFIT.partition(":")[0]
    for script in ("fit_base.sh", "finish.py"):
        assert beginning in (GUEST / "image" / script).read_text()
