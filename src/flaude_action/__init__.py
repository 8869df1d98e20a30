"""Run Claude Code on a Fly.io Machine made for one job, and say exactly why when it could not.

The public names are loaded on first use, so that `import flaude_action` and a step that fails on its inputs
pay for nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flaude_action.docker_steps import docker_build, docker_login_fly, docker_push
    from flaude_action.errors import (
        AgentError,
        ConfigError,
        FlaudeError,
        FlyAPIError,
        GuestError,
        ImageBuildError,
        ImageError,
        MachineExitError,
        MachineTimeout,
        RunCancelled,
    )
    from flaude_action.image import ImageRef, ensure_image
    from flaude_action.machine_config import MachineConfig
    from flaude_action.repo_spec import RepoSpec
    from flaude_action.run import (
        ensure_app,
        extract_exit_code_from_logs,
        run_and_destroy,
        run_with_logs,
    )
    from flaude_action.run_result import RunResult
    from flaude_action.streaming_run import StreamingRun

__version__ = "0.1.0"

OWNER = "OWNER"
"""Who publishes this action on GitHub: the one place that names it."""

REPOSITORY_URL = f"https://github.com/{OWNER}/flaude-action"

DEFAULT_IMAGE = f"ghcr.io/{OWNER.lower()}/flaude-machine:{__version__}"
"""The machine image of this release."""

__all__ = [
    "DEFAULT_IMAGE",
    "OWNER",
    "AgentError",
    "ConfigError",
    "FlaudeError",
    "FlyAPIError",
    "GuestError",
    "ImageBuildError",
    "ImageError",
    "ImageRef",
    "MachineConfig",
    "MachineExitError",
    "MachineTimeout",
    "RepoSpec",
    "RunCancelled",
    "RunResult",
    "StreamingRun",
    "__version__",
    "docker_build",
    "docker_login_fly",
    "docker_push",
    "ensure_app",
    "ensure_image",
    "extract_exit_code_from_logs",
    "run_and_destroy",
    "run_with_logs",
]

_ERRORS = frozenset(name for name in __all__ if name.endswith("Error")) | {"MachineTimeout", "RunCancelled"}
_MODULES = {
    "MachineConfig": "machine_config",
    "RepoSpec": "repo_spec",
    "ImageRef": "image",
    "ensure_image": "image",
    "docker_build": "docker_steps",
    "docker_login_fly": "docker_steps",
    "docker_push": "docker_steps",
    "RunResult": "run_result",
    "StreamingRun": "streaming_run",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "errors" if name in _ERRORS else _MODULES.get(name, "run")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
