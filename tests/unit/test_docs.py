"""The generated pages of docs/."""

from __future__ import annotations

import importlib.util

import pytest
from tests.support.engines import ROOT

spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
assert spec
assert spec.loader
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)


@pytest.mark.parametrize("path", list(tables.pages()), ids=lambda path: path.name)
def test_generated_pages_are_current(path: object) -> None:
    """What is committed is what `make docs` would write now."""
    assert tables.pages()[path] == (ROOT / "docs" / path.name).read_text()
