"""`make bench`: measure the budgets on this machine and print them beside what was found. Judges nothing."""

from __future__ import annotations

import json
import subprocess
import sys

from bench import boot, container, startup

FEW, MANY = 300_000, 3_000_000


def main() -> None:
    """Print one row as soon as it is measured; the other rows cost up to a minute."""
    _row("measured", "budget", "found")
    start = startup.measure()
    found = f"{start['ratio']:.2f} times ({start['ours_s']:.3f} s against {start['flaude_s']:.3f} s)"
    _row("start to create request, against flaude 0.6.1", "2.2 times", found)

    few = _log_intake(FEW)
    _row("log intake on one core", "100,000 lines/s", f"{few['lines_per_s']:,.0f} lines/s")
    _row(f"memory after {FEW:,} lines", "80 MB", f"{few['peak_rss_mb']:.0f} MB")
    many = _log_intake(MANY)
    growth = many["peak_rss_mb"] - few["peak_rss_mb"]
    _row(f"memory after {MANY:,} lines", "80 MB, flat", f"{many['peak_rss_mb']:.0f} MB ({growth:+.1f} MB)")

    if reason := container.missing():
        _row("the action's image", "25 MB, 0.6 s", f"not measured: {reason}")
    else:
        image = container.measure()
        _row("the action's image, compressed", "25 MB", f"{image['image_mb']:.1f} MB")
        _row("docker run to the first API call", "0.6 s", f"{image['first_call_s']:.2f} s")
        machine = boot.measure()
        _row("the machine image's own layers, compressed", "-", f"{machine['layers_mb']:.1f} MB")
        _row("create request to Claude Code's first request", "-", f"{machine['total_s']:.2f} s")
        for phase, meaning in boot.PHASES.items():
            _row(f"  {meaning}", "-", f"{machine[f'{phase}_s']:.2f} s")


def _log_intake(lines: int) -> dict[str, float]:
    # A process of its own: the peak of memory is the process's.
    program = f"import json; from bench.log_intake import measure; print(json.dumps(measure({lines})))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _row(measured: str, budget: str, found: str) -> None:
    print(f"{measured:48}{budget:18}{found}", flush=True)


if __name__ == "__main__":
    main()
