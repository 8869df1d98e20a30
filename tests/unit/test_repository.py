"""What must hold for the repository as a whole: who may import whom, sizes, versions, locks, names."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.support.engines import ROOT

from flaude_action import DEFAULT_IMAGE, OWNER, __version__

SRC = ROOT / "src"
ACTION, GUEST, LOCALFLY = (SRC / name for name in ("flaude_action", "flaude_guest", "localfly"))
REHEARSAL = ACTION / "rehearsal"

# From words to edge: a module imports its own tier and those before it. Every module is in exactly one tier.
TIERS = {
    "words": "__init__ catalog errors json_document machine_dockerfile machine_size refused secret untrusted"
    " waiting",
    "values": "build_context build_progress claude_args credential_forms held_credentials dockerfile"
    " dockerignore env_input event github_documents http_body image_errors image_recipe image_reference"
    " input_rules input_values inputs machine_config redaction runner_protocol verdict workspace_file"
    " annotations log_excerpt log_witness markdown prices evidence repo_spec spans log_caps chunk left_out"
    " patch_content patch_context patch_secrets credential_shapes env_credentials secret_forms"
    " inline_credentials words",
    "parties": "fly fly_errors fly_http fly_models artifacts engine engine_cleanup engine_client"
    " engine_stream github image image_build registry registry_credentials registry_http report run_report"
    " state summary publish fly_access fly_events fly_fields fly_limits stderr",
    "stages": "archive_links docker_steps execution guest_files guest_link guest_work image_choice logs"
    " machine outcome preflight run run_result step step_report"
    " kept_files launch life log_lines machine_history streaming_run",
    "story": "action",
    "edge": "__main__ cli doctor doctor_probes local signals",
}
TIER_OF = {module: rank for rank, names in enumerate(TIERS.values()) for module in names.split()}
EDGE = TIER_OF["cli"]


def tier(module: str) -> int:
    """The rank of a module's tier; the rehearsal's modules are all edge."""
    if module.startswith("rehearsal"):
        return EDGE
    assert module in TIER_OF, f"give {module} a tier in this test"
    return TIER_OF[module]


def modules(package: Path) -> list[Path]:
    return sorted(package.glob("*.py"))


@functools.cache
def imported(path: Path, *, run_time_only: bool = False) -> frozenset[str]:
    """Dotted names of what a module imports, of a package's own members always as `package.member`."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if run_time_only and id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            files = {name for name in members if (SRC / (name.replace(".", "/") + ".py")).exists()}
            names |= files or {str(node.module)}
    return frozenset(names)


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", modules(ACTION), ids=lambda path: path.stem)
def test_imports_run_one_way(path: Path) -> None:
    """A module of flaude_action is in one tier and imports, at run time, no later one."""
    for name in imported(path, run_time_only=True):
        package, _, module = name.partition(".")
        if package == "flaude_action" and module:
            assert tier(module) <= tier(path.stem), f"{path.stem} imports {module}"


@pytest.mark.parametrize("path", modules(ACTION), ids=lambda path: path.stem)
def test_action_reaches_out_only_where_it_should(path: Path) -> None:
    """Of the guest only the protocol is imported; localfly only at the edge, the Docker SDK by the engine."""
    names = imported(path)
    assert {name for name in names if name.startswith("flaude_guest")} <= {"flaude_guest.protocol"}
    if tier(path.stem) < EDGE:
        docker = {"docker"} if path.stem.startswith("engine") else set()
        assert not tops(path) & {"localfly", "docker", "starlette", "uvicorn"} - docker


@pytest.mark.parametrize("path", modules(GUEST), ids=lambda path: path.stem)
def test_guest_needs_only_the_standard_library(path: Path) -> None:
    """The guest runs in the user's image, where there is a Python and nothing else."""
    assert tops(path) <= sys.stdlib_module_names | {"flaude_guest"}


@pytest.mark.parametrize("path", modules(LOCALFLY), ids=lambda path: path.stem)
def test_localfly_shares_nothing_with_the_client(path: Path) -> None:
    """A stand-in that used the client's own models would make the client's own mistakes."""
    assert not tops(path) & {"flaude_action", "flaude_guest"}


@pytest.mark.parametrize("package", [ACTION, REHEARSAL, GUEST, LOCALFLY], ids=lambda path: path.name)
def test_there_are_no_import_cycles(package: Path) -> None:
    """Modules of a package can be put in an order in which each imports only earlier ones."""
    prefix = ".".join(package.relative_to(SRC).parts) + "."
    needs = {
        path.stem: {
            name.removeprefix(prefix)
            for name in imported(path, run_time_only=True)
            if name.startswith(prefix)
        }
        for path in modules(package)
        if path.stem != "__init__"
    }
    while ready := {name for name, needed in needs.items() if not needed & needs.keys()}:
        needs = {name: needed for name, needed in needs.items() if name not in ready}
    assert not needs, "these import each other"


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_modules_stay_small(path: Path) -> None:
    """Nobody has to scroll through more than 400 lines."""
    assert len(path.read_text().splitlines()) <= 400


def tracked_texts() -> dict[str, str]:
    """Every committed text file by name."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    texts = {}
    for name in filter(None, listing.stdout.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in content:
            texts[name] = content.decode()
    return texts


def test_one_constant_names_the_owner() -> None:
    """Whoever publishes this changes `OWNER` and is told every other place."""
    reference = re.compile(r"(?:github\.com/|ghcr\.io/|uses: )([\w.-]+)/flaude-(?:action|machine)\b")
    wrong = {
        (name, owner)
        for name, text in tracked_texts().items()
        for owner in reference.findall(text)
        if owner.lower() != OWNER.lower()
    }
    assert not wrong
    assert f"ghcr.io/{OWNER.lower()}/flaude-machine:{__version__}" == DEFAULT_IMAGE


def test_nothing_of_this_machine_is_committed() -> None:
    """No file names the checkout's folder or the package mirrors of whoever works on it."""
    settings = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    ours = {str(ROOT), str(Path.home() / ".cache")}
    ours |= set(re.findall(r"(?:https?|file)://[^\s']+|/[^\s']+", settings.stdout))
    public = ("https://pypi.org/", "/etc/ssl/", "/usr/")
    ours = {word for word in ours if not word.startswith(public) and len(word) > 5}
    assert not [(name, word) for name, text in tracked_texts().items() for word in ours if word in text]


def test_one_version() -> None:
    """pyproject.toml, the package and the changelog's newest entry agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = re.findall(r"^## \[(\d\S*)\] - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert [project["version"], entries[0]] == [__version__, __version__]


def lock_text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.lock").read_text()


def locked(name: str) -> dict[str, tuple[str, ...]]:
    """The pins of a lock, each with its hashes."""
    text = lock_text(name).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return {line.split()[0]: tuple(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line)) for line in lines}


@pytest.mark.parametrize("name", ["action", "dev", "tools"])
def test_locks_pin_by_hash_and_name_no_source(name: str) -> None:
    """Every pin is exact and hashed; where to download from is left to whoever installs."""
    pins = locked(name)
    assert pins
    assert [pin for pin, hashes in pins.items() if "==" not in pin or not hashes] == []
    assert not re.search(r"://|--(extra-)?index|--find-links", lock_text(name))


def test_tests_run_with_what_the_action_ships() -> None:
    """The development lock holds the action's own pins unchanged."""
    assert locked("action").items() <= locked("dev").items()
