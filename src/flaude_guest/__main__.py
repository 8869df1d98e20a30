"""One program for both ends of the socket: with a verb it carries that verb, without it is the supervisor."""

from __future__ import annotations

import sys


def main() -> None:
    """`flaude-guest [--isolated]` or `flaude-guest VERB ...`; exits."""
    args = sys.argv[1:]
    if args and not args[0].startswith("-"):
        from flaude_guest import verbs  # the supervisor's imports would cost every verb its time

        verbs.run()
    from flaude_guest import supervisor

    supervisor.main(args)


if __name__ == "__main__":
    main()
