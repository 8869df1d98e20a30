"""The runs of a rehearsal: what each is given, and what it must come to.

Playing them is `rehearse`'s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flaude_action.rehearsal.stage import EXAMPLE

if TYPE_CHECKING:
    from flaude_action.rehearsal.step import Ending


@dataclass(frozen=True)
class Scene:
    """One run: `name` is its folder's and its script's, `more_setup` is done after the stage's own."""

    name: str
    title: str
    conclusion: str
    error_type: str = ""
    more_setup: str = ""

    def turns(self) -> dict[str, Any]:
        """The model's part, a file of the example."""
        script: dict[str, Any] = json.loads((EXAMPLE / f"{self.name}.json").read_text())
        return script


FIXES = Scene("fixes", "Claude Code finds the bug and fixes it", "success")
SCENES = (
    FIXES,
    Scene("runs_out_of_credit", "The credit runs out in the middle of the work", "failure", "model_billing"),
)
ON_OWN_FLY = (
    FIXES,
    Scene(
        "setup_fails", "The tests fail in `setup`, before any model is asked",
        "failure", "setup_command_failed", more_setup="python3 -m unittest -q",
    ),
)  # fmt: skip
"""Without a script no model can be made to fail, but what comes before it can."""


@dataclass(frozen=True)
class Played:
    """A scene and what it came to."""

    scene: Scene
    ending: Ending = field(repr=False)
    seconds: float

    @property
    def as_it_must(self) -> bool:
        outputs = self.ending.outputs
        return (
            (self.ending.exit_code == 0) == (self.scene.conclusion == "success")
            and outputs.get("conclusion") == self.scene.conclusion
            and outputs.get("error_type") == self.scene.error_type
        )

    @property
    def told(self) -> str:
        outputs = self.ending.outputs
        cause = (
            f", {outputs['error_type']}: {outputs.get('error_message')}" if outputs.get("error_type") else ""
        )
        return (
            f"{self.scene.title}: {outputs.get('conclusion')}, exit code {self.ending.exit_code}, "
            f"{self.seconds:.1f} s{cause}"
        )
