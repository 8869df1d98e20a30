"""Run Claude Code on a Fly.io Machine made for one job, and say exactly why when it could not."""

from __future__ import annotations

__version__ = "0.1.0"

OWNER = "OWNER"
"""Who publishes this action on GitHub: the one place that names it."""

DEFAULT_IMAGE = f"ghcr.io/{OWNER.lower()}/flaude-machine:{__version__}"
"""The machine image of this release."""
