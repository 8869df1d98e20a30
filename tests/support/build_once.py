"""One `ensure_image` of a context, told as JSON: for engines that only this process can reach.

python -m tests.support.build_once CONTEXT
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

from tests.support import engines

from flaude_action import ensure_image
from flaude_action.errors import FlaudeError


async def main(context: str) -> dict[str, object]:
    """The error's type, details and hint, and what the engine has left afterwards."""
    with engines.registry() as address:
        os.environ |= {"FLY_REGISTRY_HOST": address, "FLY_API_TOKEN": "fm2_token"}
        try:
            image = await ensure_image("app", docker_context=context)
            told: dict[str, object] = {"reference": str(image)}
        except FlaudeError as error:
            told = error.as_json(debug=True)
    words = ["docker", "images", "--all", "--quiet"], ["docker", "ps", "--all", "--quiet"]
    left = [await asyncio.to_thread(subprocess.check_output, list(word), text=True) for word in words]
    return told | {"left": "".join(left)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
