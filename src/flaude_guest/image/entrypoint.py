"""The machine's main program: `__main__.py` of the folder python3 is given, beside the guest's package."""

from flaude_guest.__main__ import main

main()
