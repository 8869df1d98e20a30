"""Gather all that the action needs of the image it is built in: Python, and what that is linked with.

    gather.py TARGET

TARGET becomes the root folder of an image made from nothing: no shell, no package manager, no compiler.
Run by the Python of the action's own virtual environment, which goes along.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Of the standard library: what no program of ours and none of its packages imports.
LEFT_OUT = (
    "__pycache__", "test", "tests", "idle_test", "site-packages", "dist-packages", "config-*",
    "idlelib", "tkinter", "turtle*", "lib2to3", "ensurepip", "venv", "distutils", "pydoc_data", "_pyrepl",
    "curses", "sqlite3", "dbm", "unittest", "xmlrpc", "wsgiref", "msilib",
    "_test*.so", "_tkinter*.so", "_sqlite3*.so", "_curses*.so", "_dbm*.so", "_gdbm*.so", "readline*.so",
    "nis*.so", "ossaudiodev*.so", "_ctypes_test*.so", "xx*.so", "*.a",
)  # fmt: skip
# Not linked, but opened when a thread ends.
OPENED_LATER = ("libgcc_s.so.1",)
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def main(target: Path) -> None:
    make_root(target)
    interpreter = Path(sys.executable).resolve()
    environment = Path(sys.prefix)
    library = Path(os.__file__).parent
    shutil.copytree(library, below(target, library), ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copytree(environment, below(target, environment), symlinks=True)
    copy(interpreter, target)
    link(interpreter.parent / "python3", interpreter, target)
    programs = [interpreter, *target.rglob("*.so")]
    needed = {path for program in programs for path in linked(program)}
    for path in needed:
        copy(path, target)
    # A Python of its own in /usr/local is found by the loader's cache.
    folders = sorted({os.path.normpath(path.parent) for path in needed})
    subprocess.run(["/sbin/ldconfig", "-r", str(target), *folders], check=True)
    for folder in (library, environment):
        compile_all(below(target, folder), target)


def make_root(target: Path) -> None:
    """What a program expects of any system."""
    for name, text in FILES.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text)
    (target / "root").mkdir(mode=0o700)
    (target / "tmp").mkdir()
    (target / "tmp").chmod(0o1777)


def below(target: Path, path: Path | str) -> Path:
    return target / Path(path).relative_to("/")


def copy(path: Path, target: Path) -> None:
    """Copy a file, under the name it is asked for by."""
    below(target, path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path.resolve(), below(target, path))


def link(name: Path, to: Path, target: Path) -> None:
    """The name by which the virtual environment calls its Python."""
    if not below(target, name).exists():
        below(target, name).symlink_to(to)


def linked(program: Path) -> list[Path]:
    """The shared libraries that the loader would load for a program or a library."""
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    paths = [Path(found) for found in re.findall(r"(?:=>\s+|^\s+)(/\S+)", said, re.MULTILINE)]
    folders = {path.parent for path in paths if path.name.startswith("libc.")}
    return paths + [folder / name for folder in folders for name in OPENED_LATER]


def compile_all(folder: Path, root: Path) -> None:
    """Hash-based bytecode needs no look at the sources' time stamps, which no copy has to preserve then."""
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(
        folder, quiet=1, workers=0, stripdir=str(root), prependdir="/", invalidation_mode=unchecked
    ):
        sys.exit(f"{folder} does not compile")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
