"""What requests say, read as a Go program reads it: bodies, the types in them, numbers in queries."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from localfly.wire import ApiError, refused

if TYPE_CHECKING:
    from starlette.requests import Request

Shape = type | list[type] | Mapping[Any, Any]
"""A type; `[str]`, a list; `{str: str}`, a map; `{"member": shape, …}`, the known members of an object."""

TEXTS: Final[Shape] = [str]
MAP: Final[Shape] = {str: str}

_GIVEN: Final[dict[type, str]] = {
    list: "array",
    dict: "object",
    str: "string",
    int: "number",
    float: "number",
    bool: "bool",
}
_WANTED: Final[dict[type, str]] = {str: "string", int: "int", float: "float64", bool: "bool", dict: "object"}


async def json_object(
    request: Request, go_type: str = "main.request", shape: Mapping[str, Shape] | None = None
) -> dict[str, Any]:
    """The body as an object with members of these shapes. Raises ApiError 400."""
    raw = await request.body()
    if not raw:
        raise refused(400, "EOF")
    return _object(raw, go_type, shape or {})


async def json_object_or_empty(
    request: Request, go_type: str, shape: Mapping[str, Shape] | None = None
) -> dict[str, Any]:
    """As `json_object`, but no body at all is an empty object."""
    raw = await request.body()
    return _object(raw, go_type, shape or {}) if raw else {}


def whole(text: str) -> int | None:
    """A whole number in ASCII digits; None for anything else."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,30}", text) else None


def check(value: object, shape: Shape, where: str) -> None:
    """Null fits every shape, but not within a list or a map. Raises ApiError 400 in Go's words."""
    if value is None:
        return
    if isinstance(shape, list):
        if not isinstance(value, list) or not all(type(item) is shape[0] for item in value):
            raise _misfit(value, where, f"[]{_WANTED[shape[0]]}")
    elif isinstance(shape, type):
        if type(value) is not shape and not (shape is float and type(value) is int):
            raise _misfit(value, where, _WANTED[shape])
    elif shape == MAP:
        if not isinstance(value, dict) or not all(type(item) is str for item in value.values()):
            raise _misfit(value, where, "map[string]string")
    elif not isinstance(value, dict):
        raise _misfit(value, where, "object")
    else:
        for member, inner in shape.items():
            check(value.get(member), inner, f"{where}.{member}")


def _misfit(value: object, where: str, wanted: str) -> ApiError:
    given = _GIVEN.get(type(value), "value")
    return refused(400, f"json: cannot unmarshal {given} into Go struct field {where} of type {wanted}")


def _object(raw: bytes, go_type: str, shape: Mapping[str, Shape]) -> dict[str, Any]:
    try:
        document = json.loads(raw.decode("utf-8", "replace"), parse_constant=_no_constant)
        if b"\\u" in raw:
            document = _without_surrogates(document)
    except ValueError as error:
        raise refused(400, "invalid character in request body") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        kind = _GIVEN.get(type(document), "value")
        raise refused(400, f"json: cannot unmarshal {kind} into Go value of type {go_type}")
    check(document, shape, go_type.partition(".")[2])
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _without_surrogates(document: object) -> Any:
    """Halves of characters, which no answer could carry, become U+FFFD as in Go."""
    text = json.dumps(document, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
