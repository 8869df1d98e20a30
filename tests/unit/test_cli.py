"""The command line's words, as far as they mean something by themselves."""

from __future__ import annotations

import pytest

from flaude_action import DEFAULT_IMAGE, __version__, cli


def test_doctor_tries_the_release_s_image() -> None:
    """Without `--image`, doctor tries what a step without `image:` would run."""
    options = cli._parser().parse_args(["doctor", "--app", "mine"])
    assert (options.app, options.image, options.region) == ("mine", DEFAULT_IMAGE, "")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` says the release."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("words", [[], ["nothing"], ["doctor"], ["local", "--backend", "cloud"]])
def test_wrong_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A verb that does not exist, or one without what it needs, is told with the usage."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: flaude-action")
