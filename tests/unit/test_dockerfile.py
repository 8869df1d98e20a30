"""The images a Dockerfile stands on, and naming them by digest."""

from __future__ import annotations

import pytest

from flaude_action.dockerfile import external_images, labelled, pinned


@pytest.mark.parametrize(
    ("text", "arguments", "images"),
    [
        ("FROM debian", {}, ["debian"]),
        ("FROM scratch\n", {}, []),
        ("from node:22 as build\nfrom build\nCOPY --from=build /a /a\nCOPY --from=0 /a /a", {}, ["node:22"]),
        ("FROM --platform=linux/amd64 debian AS a\nFROM a AS b\nFROM B\n", {}, ["debian"]),
        ("FROM a\nCOPY --chown=1:1 --from=nginx:1 /a /b\nCOPY --from=nginx:1 /c /d\n", {}, ["a", "nginx:1"]),
        ("ARG V=22\nFROM node:$V\n", {}, ["node:22"]),
        ("ARG V=22\nFROM node:${V}-slim\n", {"V": "20"}, ["node:20-slim"]),
        ('ARG V="22" W=x\nARG BASE=node:${V}\nFROM ${BASE}\n', {}, ["node:22"]),
        ("ARG BASE\nFROM ${BASE:-debian}\n", {}, ["debian"]),
        ("ARG BASE\nFROM ${BASE:-debian}\n", {"BASE": "me"}, ["me"]),
        ("ARG BASE\nFROM ${BASE-debian}\n", {}, ["debian"]),
        ("ARG A=\nARG B=c\nFROM ${A:-${B:-d}}/${A:+no}${B:+e}\n", {}, ["c/e"]),
        ("FROM $NEVER_SAID\n", {}, []),
        ("FROM yes\r\nRUN echo a\u2028FROM no\x0cFROM no\x85\r\nFROM too\r\n", {}, ["yes", "too"]),
        ("FROM a\nARG V=1\nFROM b:$V\n", {}, ["a", "b:"]),
        ("FROM \\\n  # not this\n  debian \\\n  AS x\n", {}, ["debian"]),
        ("# escape=`\nFROM `\n debian\nRUN a \\\n", {}, ["debian"]),
        ("# FROM no\nRUN echo \\\nFROM no\nFROM yes\n", {}, ["yes"]),
        ("not a Dockerfile\n", {}, []),
        ("", {}, []),
    ],
)
def test_external_images(text: str, arguments: dict[str, str], images: list[str]) -> None:
    """Stages, `scratch` and numbers are no images; arguments before the first FROM are put in."""
    assert external_images(text, arguments) == images


def test_pinned_keeps_everything_else() -> None:
    """Names become digests; flags, stages, other lines and their numbers stay."""
    text = "ARG V=1\nFROM \\\n  node:$V AS build\nRUN echo node:1\nFROM build\nCOPY --from=nginx /a /a\n"
    expected = "ARG V=1\nFROM    node@d AS build\n\nRUN echo node:1\nFROM build\nCOPY --from=nginx@e /a /a\n"
    assert pinned(text, {}, {"node:1": "node@d", "nginx": "nginx@e"}) == expected


def test_only_dockers_line_ends_end_a_line() -> None:
    """Python knows ten; what a command is given stays in one piece."""
    text = "FROM a\r\nRUN echo '\x0cFROM b\u2028FROM b'\r\n"
    assert pinned(text, {}, {"a": "x", "b": "y"}) == text.replace("FROM a\r", "FROM x")


def test_pinned_names_nothing_new() -> None:
    """A text whose images have no other name is the same text."""
    text = "FROM debian\nRUN a \\\n\n  b\n# end"
    assert pinned(text, {}, {}) == text


def test_every_stage_begins_with_the_label() -> None:
    """Also the last one, when the text ends with its FROM."""
    assert (
        labelled("FROM a AS b\nRUN c\nFROM b", "k=v") == "FROM a AS b\nLABEL k=v\nRUN c\nFROM b\nLABEL k=v\n"
    )
