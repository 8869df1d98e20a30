"""`python -m flaude_action`."""

from flaude_action.cli import run

run()
