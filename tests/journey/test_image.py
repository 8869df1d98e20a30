"""The machine's image against a real engine and a real registry: built once per content, found ever after."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.support import engines
from tests.support.builds import Workshop, docker, forget, push
from tests.support.registry_content import put_image_for_arm
from tests.support.registry_proxy import Proxy, registry_proxy

from flaude_action import (
    ImageBuildError,
    ImageRef,
    docker_build,
    docker_login_fly,
    docker_push,
    ensure_image,
    image_recipe,
)
from flaude_action.errors import ImageError
from flaude_action.image import labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.docker, pytest.mark.registry]

CANCEL_S = 10
"""Less than any of the builds would take; a busy engine needs some of it to remove what it has made."""
GUEST_DIGEST = image_recipe.guest_build().digest


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """A registry that has the base image as `base:1`."""
    with engines.registry() as address:
        push(engines.base_image(), f"{address}/base:1")
        yield address


@pytest.fixture
def proxy(upstream: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with registry_proxy(upstream) as proxy:
        monkeypatch.setenv("FLY_REGISTRY_HOST", proxy.address)
        monkeypatch.setenv("FLY_API_TOKEN", "fm2_token")
        yield proxy
        forget(proxy.address)


@pytest.fixture
def workshop(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A place for builds with a tiny guest. The engine must be clean after every test."""
    workshop = Workshop(tmp_path, f"{os.getpid()}-{time.monotonic_ns()}", f"{proxy.address}/base:1")
    monkeypatch.setattr(image_recipe, "GUEST", guest := workshop.guest())
    monkeypatch.setattr(image_recipe, "DOCKERFILE", guest / "image" / "Dockerfile")
    yield workshop
    assert workshop.left() == []
    assert docker("images", "--quiet", f"{proxy.address}/app") == ""


@pytest.mark.full
async def test_the_machine_image_is_built_once(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """First run: built and pushed. Second: found, with one look-up of our tag and one of the base's."""
    base, mirror = f"{proxy.address}/base:1", {"NPM_REGISTRY": engines.npm_registry()}
    said: list[str] = []
    first = await ensure_image("app", base_image=base, build_args=mirror, say=said.append)
    assert first.source == "built"
    assert docker("images", "--quiet", f"{proxy.address}/app") == ""
    assert (await labels(first.reference))["flaude.guest.protocol"] == "1"
    assert 20 < len(said) < 200

    proxy.asked.clear()
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{engines.free_port()}")
        second = await ensure_image("app", base_image=base)
    assert second == ImageRef(first.reference, first.digest, "reused")
    assert [(one.method, one.path.split("/")[2]) for one in proxy.asked] == [
        ("HEAD", "base"),
        ("HEAD", "app"),
    ]


async def test_a_base_given_by_digest_is_not_looked_up(proxy: Proxy, workshop: Workshop) -> None:
    """One request in all: the look-up of our tag."""
    built = await ensure_image("app", base_image=workshop.base)
    by_digest = docker("images", "--digests", "--format", "{{.Digest}}", f"{proxy.address}/base").split()[0]
    proxy.asked.clear()
    again = await ensure_image("app", base_image=f"{proxy.address}/base@{by_digest}")
    assert (again.digest, again.source) == (built.digest, "reused")
    assert [one.method for one in proxy.asked] == ["HEAD"]


async def test_the_same_content_elsewhere_is_the_same_image(proxy: Proxy, workshop: Workshop) -> None:
    """Another folder, other times and modes of the files: found. One other byte: built."""
    context = workshop.context("COPY . /context", hello="hello", script="#!/bin/sh\n")
    first = await ensure_image("app", docker_context=context)
    copy = shutil.copytree(context, workshop.folder / "elsewhere" / "copy")
    for index, path in enumerate(copy.iterdir()):
        os.utime(path, (index, index))
        path.chmod(0o600)
    again = await ensure_image("app", docker_context=copy)
    assert (again.digest, again.source) == (first.digest, "reused")
    (copy / "hello").write_text("hellp")
    changed = await ensure_image("app", docker_context=copy)
    assert changed.source == "built"
    assert changed.digest != first.digest


async def test_a_users_dockerfile_gets_our_layers_on_top(proxy: Proxy, workshop: Workshop) -> None:
    """What their Dockerfile makes is the base; a tag of one's own points at the same image."""
    context = workshop.context("RUN echo tool > /usr/local/bin/tool\nLABEL theirs=yes")
    image = await ensure_image("app", docker_context=context, tag="mine")
    found = await labels(f"{proxy.address}/app:mine")
    assert found == await labels(image.reference)
    assert (found["theirs"], found["flaude.guest.protocol"]) == ("yes", "1")
    files = docker("run", "--rm", image.reference, "cat", "/usr/local/bin/tool", "/marker")
    assert files == "tool\nthe guest\n"
    forget(proxy.address)


async def test_strange_files_of_a_context(workshop: Workshop) -> None:
    """A link to nowhere stays a link; a socket cannot be sent, is left out, and that is said."""
    context = workshop.context(
        "RUN true\nCOPY . /context\nRUN test -L /context/nowhere && ! test -e /context/plug"
    )
    (context / "nowhere").symlink_to("/not/there")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(context / "plug"))
        image = await ensure_image("app", docker_context=context, say=workshop.say)
    assert image.source == "built"
    assert any("plug" in line for line in workshop.said)


@pytest.mark.parametrize(
    ("lines", "code", "word"),
    [
        ("RUN echo on it; echo oh no >&2; exit 7", 7, "oh no"),
        ("COPY missing /missing", 1, "missing"),
        ("RUNN true", 1, "RUNN"),
        ("RUN --mount=type=cache,target=/c true", 1, "BuildKit"),
    ],
)
async def test_a_build_that_fails(workshop: Workshop, lines: str, code: int, word: str) -> None:
    """The failing command's code where there is one, and the last lines, which name the cause."""
    context = workshop.context(f"RUN echo before\n{lines}")
    with pytest.raises(ImageBuildError) as raised:
        await ensure_image("app", docker_context=context, say=workshop.say)
    assert (raised.value.type, raised.value.returncode) == ("image_build_failed", code)
    assert word in raised.value.stderr
    assert word not in raised.value.message + raised.value.details
    assert len(raised.value.stderr.splitlines()) <= 40


async def test_only_the_last_lines_are_kept(workshop: Workshop) -> None:
    """A talkative command costs no memory, and its end is what is shown."""
    context = workshop.context("RUN seq 1 20000; exit 3")
    with pytest.raises(ImageBuildError) as raised:
        await ensure_image("app", docker_context=context)
    kept = raised.value.stderr.splitlines()
    assert len(kept) == 40
    assert kept[-2] == "20000"


async def test_a_build_that_takes_too_long(workshop: Workshop) -> None:
    """It ends soon after its time, as 124, and the command on the engine with it."""
    context = workshop.context("RUN echo one\nRUN sleep 300")
    began = time.monotonic()
    with pytest.raises(ImageBuildError) as raised:
        await ensure_image("app", docker_context=context, build_timeout=2.5)
    assert raised.value.returncode == 124
    assert time.monotonic() - began < CANCEL_S


async def cancelled_at(workshop: Workshop, word: str, delay_s: float = 0.2, **how: object) -> float:
    """Cancel `ensure_image` after a line with the word was said; how many seconds the cancel took."""
    heard = asyncio.Event()

    def say(line: str) -> None:
        if word in line:
            heard.set()

    work = asyncio.ensure_future(ensure_image("app", say=say, **how))  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        await asyncio.wait([work, asyncio.ensure_future(heard.wait())], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(delay_s)
    began = time.monotonic()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    return time.monotonic() - began


@pytest.mark.parametrize(
    "lines",
    [
        "RUN echo one\nRUN sleep 300",
        "RUN echo one > /one\nFROM {base}\nLABEL {label}\nCOPY --from=0 /one /one\nRUN sleep 300",
    ],
)
async def test_cancelled_in_the_middle_of_a_build(workshop: Workshop, lines: str) -> None:
    """The command is killed, and its container and every layer made so far are removed, within the cancel."""
    context = workshop.context(lines.format(base=workshop.base, label=workshop.label))
    assert await cancelled_at(workshop, "sleep 300", docker_context=context) < CANCEL_S


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.09])
async def test_cancelled_between_two_steps(workshop: Workshop, delay_s: float) -> None:
    """Also the layer that the engine is just writing down is removed."""
    steps = "\n".join(f"RUN echo {number} > /number\nCOPY file /{number}" for number in range(30))
    context = workshop.context(steps, file="file")
    assert await cancelled_at(workshop, "Step 12/", delay_s, docker_context=context) < CANCEL_S


async def test_cancelled_in_the_middle_of_a_pull(proxy: Proxy, workshop: Workshop) -> None:
    """The engine gives it up: nothing has the base's name afterwards."""
    docker("build", "--quiet", "--tag", "flaude-test-slow", str(workshop.context("RUN echo slow > /slow")))
    push("flaude-test-slow", f"{proxy.upstream}/slow:1")
    docker("rmi", "flaude-test-slow")
    proxy.delay("GET /v2/slow/blobs/", 2)
    assert await cancelled_at(workshop, "Pulling", base_image=f"{proxy.address}/slow:1") < CANCEL_S
    await asyncio.sleep(2.5)  # what was under way would have come by now
    assert docker("images", "--quiet", f"{proxy.address}/slow") == ""


async def test_cancelled_between_the_two_builds(workshop: Workshop) -> None:
    """What the user's Dockerfile made goes with what our layers have made of it."""
    context = workshop.context("RUN echo theirs > /theirs")
    assert await cancelled_at(workshop, "flaude_guest/marker", 0.0, docker_context=context) < CANCEL_S


async def test_an_engine_that_breaks_off(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The connection of a build is lost, as when the engine restarts: told as that, and nothing stays."""
    open_now: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await asyncio.open_unix_connection("/var/run/docker.sock")
        await asyncio.gather(carry(reader, engine_writer), carry(engine_reader, writer))

    def say(line: str) -> None:
        if "RUN sleep" in line:
            for writer in open_now:
                writer.close()

    context = workshop.context("RUN echo one > /one\nRUN sleep 300")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    async with await asyncio.start_unix_server(connect, tmp_path / "engine.sock"):
        with pytest.raises(ImageError) as raised:
            await ensure_image("app", docker_context=context, say=say)
    monkeypatch.delenv("DOCKER_HOST")
    assert (raised.value.type, raised.value.details) == ("engine_missing", "It stopped answering.")


async def test_cancelled_in_the_middle_of_a_push(proxy: Proxy, workshop: Workshop) -> None:
    """The engine gives the push up; the image and its name are gone from it."""
    context = workshop.context("RUN head -c 3000000 /dev/urandom > /random")
    proxy.delay("(PATCH|PUT) /v2/app/blobs/", 3)
    assert await cancelled_at(workshop, "Pushing", docker_context=context) < CANCEL_S
    assert [one for one in proxy.lookups("app") if one.method == "PUT"] == []


@pytest.mark.parametrize(("status", "turn"), [(401, "user"), (403, "user")])
async def test_a_push_that_is_refused(proxy: Proxy, workshop: Workshop, status: int, turn: str) -> None:
    """The look-up is allowed and writing is not: that is the token's fault, told before the build."""
    refused = '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'
    proxy.refuse("POST /v2/app/blobs/uploads/", status, refused)
    context = workshop.context(f"RUN echo {status} > /file")
    with pytest.raises(ImageError) as raised:
        await ensure_image("app", docker_context=context, say=workshop.say)
    assert (raised.value.type, raised.value.retryable) == ("image_push_failed", turn)
    assert not any("Step" in line for line in workshop.said)


@pytest.mark.parametrize("trouble", ["503", "slow"])
async def test_a_push_that_does_not_get_done(proxy: Proxy, workshop: Workshop, trouble: str) -> None:
    """The engine tries a broken registry again for a long time; we do not wait longer than was asked for."""
    if trouble == "slow":
        proxy.delay("P(ATCH|UT) /v2/app/", 5)
    else:
        proxy.refuse("P(ATCH|UT) /v2/app/", 503)
    context = workshop.context(f"RUN echo {trouble} > /file")
    with pytest.raises(ImageError) as raised:
        await ensure_image("app", docker_context=context, push_timeout=1.5)
    assert (raised.value.type, raised.value.retryable) == ("image_push_failed", "runner")


@pytest.mark.parametrize(("status", "turn"), [(403, "user"), (500, "runner")])
async def test_a_base_that_cannot_be_pulled(proxy: Proxy, workshop: Workshop, status: int, turn: str) -> None:
    """Its name was found, but the engine does not get its content."""
    docker("build", "--quiet", "--tag", "flaude-test-small", str(workshop.context("RUN echo small > /small")))
    push("flaude-test-small", f"{proxy.upstream}/small:1")
    docker("rmi", "flaude-test-small")

    def say(line: str) -> None:
        if line.startswith("Pulling"):  # from now on it is the engine that asks
            proxy.refuse("GET /v2/small/", status, '{"errors":[{"code":"DENIED","message":"denied"}]}')

    with pytest.raises(ImageError) as raised:
        await ensure_image("app", base_image=f"{proxy.address}/small:1", say=say)
    assert (raised.value.type, raised.value.retryable) == ("image_pull_failed", turn)


@pytest.mark.parametrize("form", ["image", "index"])
async def test_a_base_for_another_platform(proxy: Proxy, workshop: Workshop, form: str) -> None:
    """It is there, alone or in a list, but not in the form that machines run: said before the build."""
    put_image_for_arm(proxy.upstream, "arm", form)
    with pytest.raises(ImageError) as raised:
        await ensure_image("app", base_image=f"{proxy.address}/arm:{form}", say=workshop.say)
    assert (raised.value.type, raised.value.retryable) == ("image_not_found", "user")
    assert "no linux/amd64 form" in raised.value.details
    assert not any("Step" in line for line in workshop.said)


@pytest.mark.parametrize("where", ["credsStore", "credHelpers"])
async def test_credential_helpers_are_not_asked(
    proxy: Proxy, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The configuration names one that does not exist, as with Docker Desktop's inside a container."""
    helper = "nowhere" if where == "credsStore" else {proxy.address: "nowhere"}
    (workshop.folder / "config.json").write_text(json.dumps({where: helper}))
    monkeypatch.setenv("DOCKER_CONFIG", str(workshop.folder))
    image = await ensure_image("app", docker_context=workshop.context(f"RUN echo {where} > /file"))
    assert image.source == "built"


async def test_two_jobs_with_the_same_content(proxy: Proxy, workshop: Workshop) -> None:
    """Both build, both push, both run an image that is there; neither disturbs the other on the engine."""
    context = workshop.context("RUN echo raced > /file")
    both = await asyncio.gather(*(ensure_image("app", docker_context=context) for _ in range(2)))
    for image in both:
        assert (await labels(image.reference))["flaude.guest.protocol"] == "1"
    again = await ensure_image("app", docker_context=context)
    assert (again.source, again.digest in {image.digest for image in both}) == ("reused", True)


async def test_the_other_job_was_first(proxy: Proxy, workshop: Workshop) -> None:
    """Our push is refused because the name is taken by now: theirs has the same content, so it will do."""
    theirs = await ensure_image("app", docker_context=workshop.context("RUN echo theirs", "theirs"))

    def say(line: str) -> None:
        if line.startswith("Pushing"):  # between our look-up and our push
            tag = line.rpartition(":")[2]
            docker("pull", "--quiet", theirs.reference)
            docker("tag", theirs.reference, f"{proxy.upstream}/app:{tag}")
            docker("push", "--quiet", f"{proxy.upstream}/app:{tag}")
            docker("rmi", theirs.reference, f"{proxy.upstream}/app:{tag}")
            forget(proxy.upstream)
            proxy.refuse(
                "PUT /v2/app/manifests/", 403, '{"errors":[{"code":"DENIED","message":"immutable"}]}'
            )

    ours = await ensure_image("app", docker_context=workshop.context("RUN echo ours", "ours"), say=say)
    assert (ours.digest, ours.source) == (theirs.digest, "reused")


async def test_a_build_cannot_point_us_at_others_images(workshop: Workshop) -> None:
    """A command that prints the builder's own lines does not make us remove what was there before."""
    bystander = workshop.folder / "bystander"
    bystander.mkdir()
    (bystander / "Dockerfile").write_text("FROM scratch\nLABEL by=stander\n")
    identity = docker("build", "--quiet", str(bystander)).strip()
    short = identity.removeprefix("sha256:")[:12]
    lines = f"RUN echo ' ---> {short}'; echo ' ---> Running in {short}'; exit 1"
    with pytest.raises(ImageBuildError):
        await ensure_image("app", docker_context=workshop.context(lines))
    assert docker("rmi", identity)


IN_CONTAINER = """
import asyncio, json
from flaude_action import ImageBuildError, ensure_image
from flaude_action.image_recipe import guest_build
try:
    asyncio.run(ensure_image("app", docker_context="/context"))
except ImageBuildError as error:
    print(json.dumps([guest_build().digest, error.returncode, error.stderr]))
"""


def test_the_actions_own_container_builds(proxy: Proxy, workshop: Workshop, action_image: str) -> None:
    """It has all that a build needs, and the same guest as this checkout, so the same tags."""
    context = workshop.context("RUN echo from inside; exit 7")
    mounts = ["--volume", "/var/run/docker.sock:/var/run/docker.sock", "--volume", f"{context}:/context:ro"]
    given = ["--env", f"FLY_REGISTRY_HOST={proxy.address}", "--env", "FLY_API_TOKEN=fm2_token"]
    python = ["--entrypoint", "/opt/flaude/bin/python", action_image, "-I", "-c", IN_CONTAINER]
    digest, code, tail = json.loads(docker("run", "--rm", "--network", "host", *mounts, *given, *python))
    assert code == 7
    assert "from inside" in tail
    assert digest == GUEST_DIGEST


async def test_flaudes_three_steps(proxy: Proxy, workshop: Workshop) -> None:
    """Login, build and push by themselves: the image stays in the engine under the name that is pushed."""
    proxy.basic = ("x", "fm2_token")
    await docker_login_fly()
    name = await docker_build("app", tag="v1", base_image=f"{proxy.upstream}/base:1")
    assert name == f"{proxy.address}/app:v1"
    assert await docker_push("app", tag="v1") == name
    docker("rmi", name)
    forget(proxy.upstream)
    assert (await labels(name))["flaude.guest.protocol"] == "1"


async def test_a_login_that_is_refused(proxy: Proxy) -> None:
    """The token is wrong: told at the login."""
    proxy.basic = ("x", "another")
    with pytest.raises(ImageError) as raised:
        await docker_login_fly(token="fm2_wrong")
    assert (raised.value.type, raised.value.retryable) == ("image_push_failed", "user")


async def test_a_push_of_nothing(proxy: Proxy) -> None:
    """There is no image of that name in the engine."""
    with pytest.raises(ImageError) as raised:
        await docker_push("app", tag="never-built")
    assert raised.value.type == "image_push_failed"
