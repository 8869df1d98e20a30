"""How a rehearsal looks on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flaude_action.rehearsal.log import Annotation
from flaude_action.rehearsal.page import show_ending
from flaude_action.rehearsal.step import Ending

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SUMMARY = """### Claude Code on Fly.io: failure

> [!CAUTION]
> No credit is left.
>
> **Your turn:** Add credit\\: <https://a.example/>. [`model_billing`](https://b.example/#c), ref `err_1`

| | this run |
| --- | --- |
| Exit code | 1 \\(guest\\_result\\) |

````text
> Read: `pages.py`
```
# a | b
| 1 | 2 |
````

<details><summary>The log</summary>

```text
| long | long |
```

</details>
"""


def test_an_ending(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Annotations, outputs in one line each, the summary as its reader sees it: folded stays so, and code."""
    outputs = {"conclusion": "failure", "log_tail": "one\ntwo\nthree", "result": "x" * 200, "signal": ""}
    annotations = [Annotation("error", "No credit left", "Add credit.\n(err_1)")]
    show_ending(Ending(1, outputs, annotations, SUMMARY, tmp_path))
    shown = capsys.readouterr().out
    assert "\n  error  No credit left\n  Add credit.\n  (err_1)\n" in shown
    assert "\n  conclusion  failure\n  log_tail    one  (and 2 more lines)\n" in shown
    assert f"\n  result      {'x' * 90} …\n" in shown
    assert "\n  empty: signal\n" in shown
    summary = shown.partition("Step summary\n")[2]
    assert summary.splitlines() == [
        "  Claude Code on Fly.io: failure",
        "  ",
        "  No credit is left.",
        "  ",
        "  Your turn: Add credit: https://a.example/. model_billing, ref err_1",
        "  ",
        "  Exit code             1 (guest_result)",
        "  ",
        "  > Read: `pages.py`",
        "  ```",
        "  # a | b",
        "  | 1 | 2 |",
        "  ",
        "  ▸ The log",
    ]


def test_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A step that left nothing is shown as that."""
    show_ending(Ending(0, {}, [], "", tmp_path))
    assert capsys.readouterr().out == "\nAnnotations\n  none\n\nOutputs\n  none\n\nStep summary\n  none\n"
