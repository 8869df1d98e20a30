"""Which model a rehearsal has: a script, or the user's own where that was asked for and cannot do harm."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from localfly.messages import serve_messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

LIMITS = {"max_turns": "20", "max_budget_usd": "1"}


@asynccontextmanager
async def scripted_model(script: dict[str, Any]) -> AsyncIterator[dict[str, str]]:
    """Serve a script until the block ends; yields the step's inputs that lead there.

    The server refuses every request without the credential made for it.
    """
    credential = f"sk-ant-rehearsal-{secrets.token_hex(16)}"
    async with serve_messages({**script, "credential": credential}) as url:
        yield {"anthropic_api_key": credential, "anthropic_base_url": url}


def own_model(environ: Mapping[str, str], backend: str) -> dict[str, str]:
    """The inputs for the real model, with limits; empty when there is no credential or nothing to hold it.

    `backend` is what plays the machines, `fly` for Fly itself.
    """
    name = _credential_name(environ)
    if not name or not _is_held(backend):
        return {}
    url = environ.get("ANTHROPIC_BASE_URL")
    return {name.lower(): environ[name], **LIMITS} | ({"anthropic_base_url": url} if url else {})


def about_the_model(environ: Mapping[str, str], backend: str) -> str:
    """Which model it is and why, in one sentence."""
    name = _credential_name(environ)
    if not name:
        return "The model is a script, so this costs nothing; Claude Code is the real one."
    if _is_held(backend):
        return (
            f"The model of the first run is the real one, because {name} is set "
            f"(for at most {LIMITS['max_budget_usd']} USD)."
        )
    return (
        f"The model is a script although {name} is set: a real one decides itself what it runs, and "
        "processes of this computer are not kept from your files."
    )


def _credential_name(environ: Mapping[str, str]) -> str:
    names = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
    return next((name for name in names if environ.get(name)), "")


def _is_held(backend: str) -> bool:
    return backend != "process"
