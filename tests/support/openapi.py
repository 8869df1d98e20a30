"""Fly's OpenAPI document as a referee: is this request, or this answer, what the document says?

Neither the client nor localfly reads this; tests hold both against it, so the two cannot share a mistake.
The document describes objects loosely; here every object that lists its properties is closed, so that a
misspelt member is an error. What is known to be true of Fly and missing in the document is in
`_BEYOND_THE_DOCUMENT`, nowhere else.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jsonschema

DOCUMENT = Path(__file__).parents[1] / "reference" / "fly-openapi.json"

Query = str | Mapping[str, str | Sequence[str]]

_STRING = {"type": "string"}
_INTEGER = {"type": "integer"}

# Members of answers and parameters of requests that Fly has and this copy of the document lacks.
_BEYOND_THE_DOCUMENT: dict[str, dict[str, Any]] = {
    "members": {
        # A later document: `version` is the new name of `instance_id`; the others came with it.
        "Machine": {"version": _STRING, "cordoned": {"type": "boolean"}, "host_features": {"type": "array"}},
        "App": {"network_cidr": _STRING},
        "CreateAppRequest": {"idempotency_key": _STRING},
        # Lease conflicts answer {"status":"error","message":...} (https://community.fly.io/t/15555).
        "ErrorResponse": {"message": _STRING},
    },
    "query": {
        # Long in https://fly.io/docs/machines/api/machines-resource/, later also in the document.
        "get /apps/{app_name}/machines": {"limit": _INTEGER, "cursor": _STRING},
        # flyctl sends it; the prose has it.
        "delete /apps/{app_name}": {"force": {"type": "boolean"}},
        # Observed: over 60 answers 400 "value must be inside range [1s, 1m0s]".
        "get /apps/{app_name}/machines/{machine_id}/wait": {
            "timeout": {"type": "integer", "minimum": 1, "maximum": 60}},
        # A later document: default 20, at most 50.
        "get /apps/{app_name}/machines/{machine_id}/events": {
            "limit": {"type": "integer", "minimum": 1, "maximum": 50}},
    },
    # Filters by metadata are spelt metadata.<key>=<value>: no OpenAPI parameter can say that.
    "query_prefix": {"get /apps/{app_name}/machines": "metadata."},
    # `status` of an error: two capacity codes of a later document, and the lease errors' "error".
    "error_status": {"enum": ["unknown", "insufficient_capacity", "volume_placement_capacity", "name_taken",
                              "error"]},
    # Answers the document leaves without a schema.
    "answers": {
        "post /apps 201": {"type": "object", "additionalProperties": False,
                           "properties": {"id": _STRING, "created_at": _INTEGER}},
        "post /apps/{app_name}/machines/{machine_id}/start 200": {
            "type": "object", "additionalProperties": False,
            "properties": {"previous_state": _STRING, "migrated": {"type": "boolean"}, "new_host": _STRING}},
        "post /apps/{app_name}/machines/{machine_id}/stop 200": {"$ref": "#/components/schemas/Ok"},
        "delete /apps/{app_name}/machines/{machine_id} 200": {"$ref": "#/components/schemas/Ok"},
    },
    "schemas": {
        "Ok": {"type": "object", "additionalProperties": False, "required": ["ok"],
               "properties": {"ok": {"const": True}}},
        # The logs host is in no document; this is what flyctl reads (fly-go, resource_logs.go).
        "LogsPage": {"type": "object", "required": ["data", "meta"], "properties": {
            "data": {"type": "array", "maxItems": 100, "items": {
                "type": "object", "required": ["attributes"], "properties": {
                    "id": _STRING,
                    "attributes": {"type": "object", "required": ["timestamp", "message"], "properties": {
                        "timestamp": _STRING, "message": _STRING, "level": _STRING, "instance": _STRING,
                        "region": _STRING, "meta": {"type": "object"}}}}}},
            "meta": {"type": "object", "properties": {"next_token": {"type": ["string", "integer"]}}}}},
    },
    "paths": {
        "/api/v1/apps/{app_name}/logs": {"get": {
            "parameters": [{"in": "query", "name": name, "schema": _STRING}
                           for name in ("next_token", "instance", "region")],
            "responses": {"200": {"content": {"application/json": {
                "schema": {"$ref": "#/components/schemas/LogsPage"}}}}}}},
    },
}  # fmt: skip


def request_errors(method: str, path: str, query: Query = "", body: object = None) -> list[str]:
    """What is wrong with a request, as readable sentences; empty when it fits.

    `path` is as sent (`/v1/apps/a/machines`), `query` a raw query string or a mapping, `body` the decoded
    JSON or None when nothing was sent.
    """
    found = _operation(method, path)
    if found is None:
        return [f"{method} {path}: no such operation"]
    name, operation = found
    errors = _query_errors(name, operation, query)
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is None:
        if operation.get("requestBody", {}).get("required"):
            errors.append(f"{name}: a body is required")
    elif content is None:
        errors.append(f"{name}: takes no body")
    else:
        errors += _schema_errors(content["schema"], body, f"{name} body")
    return errors


def response_errors(method: str, path: str, status: int, body: object = None) -> list[str]:
    """What is wrong with an answer; `body` is the decoded JSON, or None when it was empty.

    Errors the document does not list (401, 404, 408, 412, 429, ...) must have the shape of `ErrorResponse`;
    an error may also come empty or as plain text, then pass None.
    """
    found = _operation(method, path)
    if found is None:
        return [] if status == 404 else [f"{method} {path}: no such operation, yet status {status}"]
    name, operation = found
    label = f"{name} {status}"
    if status >= 400:
        schema: Any = {"$ref": "#/components/schemas/ErrorResponse"}
        return [] if body is None else _schema_errors(schema, body, label)
    answer = operation["responses"].get(str(status))
    if answer is None:
        return [f"{label}: no such success status"]
    schema = _BEYOND_THE_DOCUMENT["answers"].get(label)
    schema = schema or answer.get("content", {}).get("application/json", {}).get("schema")
    if schema is None:
        return [] if body in (None, "") else [f"{label}: no body is described"]
    return _schema_errors(schema, body, label)


def _query_errors(name: str, operation: dict[str, Any], query: Query) -> list[str]:
    known = {one["name"]: one["schema"] for one in operation.get("parameters", []) if one["in"] == "query"}
    known |= _BEYOND_THE_DOCUMENT["query"].get(name, {})
    prefix = _BEYOND_THE_DOCUMENT["query_prefix"].get(name)
    given = parse_qs(query, keep_blank_values=True) if isinstance(query, str) else query
    errors = []
    for key, values in given.items():
        schema = known.get(key)
        if schema is None:
            if not (prefix and key.startswith(prefix) and len(key) > len(prefix)):
                errors.append(f"{name}: unknown query parameter {key!r}")
            continue
        listed = [values] if isinstance(values, str) else list(values)
        # `state` may be repeated, or a comma list (https://fly.io/docs/machines/api/machines-resource/).
        parts = [part for value in listed for part in (value.split(",") if key == "state" else [value])]
        if len(parts) > 1 and key != "state":
            errors.append(f"{name}: query parameter {key!r} repeated")
        for part in parts:
            errors += _schema_errors(schema, _typed(part, schema), f"{name} query {key}")
    return errors


def _typed(text: str, schema: dict[str, Any]) -> object:
    if schema.get("type") == "integer" and re.fullmatch(r"-?\d+", text):
        return int(text)
    if schema.get("type") == "boolean" and text in ("true", "false"):
        return text == "true"
    return text


def _schema_errors(schema: dict[str, Any], value: object, label: str) -> list[str]:
    validator = jsonschema.Draft7Validator({"allOf": [schema], "components": _document()["components"]})
    return [f"{label} at {error.json_path}: {error.message}" for error in validator.iter_errors(value)]


@cache
def _document() -> dict[str, Any]:
    document = json.loads(DOCUMENT.read_text("utf-8"))
    schemas = document["components"]["schemas"]
    for name, members in _BEYOND_THE_DOCUMENT["members"].items():
        schemas[name]["properties"] |= members
    _close(document["components"])
    schemas["main.statusCode"] |= _BEYOND_THE_DOCUMENT["error_status"]
    schemas |= _BEYOND_THE_DOCUMENT["schemas"]
    return document


@cache
def _operations() -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
    prefixed = {"/v1" + path: (path, item) for path, item in _document()["paths"].items()}
    prefixed |= {path: (path, item) for path, item in _BEYOND_THE_DOCUMENT["paths"].items()}
    return [
        (re.compile(re.sub(r"\{\w+\}", "[^/]+", full) + "$"), path, item)
        for full, (path, item) in prefixed.items()
    ]


def _operation(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    for pattern, template, item in _operations():
        if pattern.match(path) and method.lower() in item:
            return f"{method.lower()} {template}", item[method.lower()]
    return None


def _close(node: object) -> None:
    """Refuse members an object schema does not list; an object without a list stays open (`request`)."""
    if isinstance(node, dict):
        if "allOf" in node:
            node.pop("type", None)  # the generator writes "object" beside references to strings, too
        if isinstance(node.get("properties"), dict) and node.get("type") == "object":
            node.setdefault("additionalProperties", False)
        for child in node.values():
            _close(child)
    elif isinstance(node, list):
        for child in node:
            _close(child)
