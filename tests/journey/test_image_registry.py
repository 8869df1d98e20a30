"""Asking a real registry: what is found, how each kind of refusal ends; no engine is needed for it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import engines
from tests.support.registry_content import INDEX, entry_for, put_image, put_manifest
from tests.support.registry_proxy import Proxy, registry_proxy

from flaude_action.errors import ImageError
from flaude_action.image import ensure_image, labels
from flaude_action.image_reference import parse_reference
from flaude_action.registry import Registry
from flaude_action.registry_http import RegistryRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.registry


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with engines.registry() as address:
        yield address


@pytest.fixture
def proxy(upstream: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that stands for Fly's registry, and no engine anywhere."""
    with registry_proxy(upstream) as proxy:
        monkeypatch.setenv("FLY_REGISTRY_HOST", proxy.address)
        monkeypatch.setenv("FLY_API_TOKEN", "FlyV1 fm2_first,fm2_second")
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{engines.free_port()}")
        yield proxy


def amd64(**labels: str) -> dict[str, Any]:
    return {"os": "linux", "architecture": "amd64", "config": {"Labels": labels}}


async def test_labels_come_from_the_registry(proxy: Proxy, upstream: str) -> None:
    """An image's labels are read by tag and by digest."""
    digest = put_image(upstream, "tools", "1", amd64(**{"flaude.guest.protocol": "1"}))
    assert await labels(f"{proxy.address}/tools:1") == {"flaude.guest.protocol": "1"}
    assert await labels(f"{proxy.address}/tools@{digest}") == {"flaude.guest.protocol": "1"}


async def test_labels_of_an_index_are_those_of_amd64(proxy: Proxy, upstream: str) -> None:
    """Of an image for several platforms the one that Fly runs is looked at."""
    platforms = [
        ({"os": "linux", "architecture": "arm64"}, "arm"),
        ({"os": "linux", "architecture": "amd64"}, "amd"),
    ]
    listed = []
    for platform, word in platforms:
        digest = put_image(upstream, "many", word, platform | {"config": {"Labels": {"is": word}}})
        listed.append(entry_for(upstream, "many", digest, platform))
    put_manifest(upstream, "many", "all", {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    put_manifest(upstream, "many", "none", {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed[:1]})
    assert await labels(f"{proxy.address}/many:all") == {"is": "amd"}
    for tag in ("none", "arm"):
        with pytest.raises(ImageError) as raised:
            await labels(f"{proxy.address}/many:{tag}")
        assert raised.value.type == "image_not_found"
        assert "linux/amd64" in raised.value.dev


async def test_an_image_that_is_not_there(proxy: Proxy) -> None:
    """An unknown base is told as such, before anything else is asked."""
    with pytest.raises(ImageError) as raised:
        await ensure_image("app", base_image=f"{proxy.address}/nothing:1")
    assert (raised.value.type, raised.value.retryable) == ("image_not_found", "user")
    assert [(one.method, one.path) for one in proxy.asked] == [("HEAD", "/v2/nothing/manifests/1")]


@pytest.mark.parametrize(("status", "turn"), [(401, "user"), (403, "user"), (503, "runner")])
async def test_a_registry_that_refuses_the_base(proxy: Proxy, status: int, turn: str, quick: None) -> None:
    """When the base's registry refuses, that is no missing image; whose turn it is depends on how."""
    proxy.refuse("/v2/private/", status, '{"errors":[{"code":"DENIED","message":"not you"}]}')
    with pytest.raises(ImageError) as raised:
        await ensure_image("app", base_image=f"{proxy.address}/private:1")
    assert (raised.value.type, raised.value.retryable) == ("image_pull_failed", turn)
    assert str(status) in raised.value.details


@pytest.mark.parametrize(("status", "turn"), [(401, "user"), (403, "user"), (500, "runner")])
async def test_the_apps_registry_refuses(
    proxy: Proxy, upstream: str, status: int, turn: str, quick: None
) -> None:
    """When our own tag may not even be looked up, nothing is built: the push would be refused as well."""
    digest = put_image(upstream, "base", "1", amd64())
    proxy.refuse("/v2/app/", status)
    with pytest.raises(ImageError) as raised:
        await ensure_image("app", base_image=f"{proxy.address}/base@{digest}")
    assert (raised.value.type, raised.value.retryable) == ("image_push_failed", turn)


async def test_a_passing_error_is_asked_again(proxy: Proxy, upstream: str) -> None:
    """One 503 and one lost answer do not end a look-up."""
    put_image(upstream, "tools", "1", amd64(a="b"))
    proxy.refuse("HEAD", 503)
    async with Registry() as registry:
        asking = asyncio.ensure_future(registry.digest(parse_reference(f"{proxy.address}/tools:1")))
        await asyncio.to_thread(proxy.until_asked, 1)
        proxy.refusals.clear()
        assert (await asking or "").startswith("sha256:")
    assert [one.status for one in proxy.asked] == [503, 200]


async def test_a_registry_that_does_not_answer(proxy: Proxy) -> None:
    """A silent registry ends the question when the patience is over, not when the connection does."""
    proxy.delay("HEAD", 5.0)
    began = time.monotonic()
    async with Registry(patience_s=0.3) as registry:
        with pytest.raises(RegistryRefused) as raised:
            await registry.digest(parse_reference(f"{proxy.address}/slow:1"))
    assert raised.value.status == 0
    assert time.monotonic() - began < 4


async def test_fly_gets_user_x_and_the_bare_token(proxy: Proxy, upstream: str) -> None:
    """Basic: the token goes without its scheme, at once, in one request."""
    put_image(upstream, "tools", "1", amd64(a="b"))
    proxy.basic = ("x", "fm2_first,fm2_second")
    assert await labels(f"{proxy.address}/tools:1") == {"a": "b"}
    assert {one.status for one in proxy.asked} == {200}


async def test_a_bearer_challenge_is_answered(proxy: Proxy, upstream: str) -> None:
    """Bearer: a token is fetched from the realm the registry names, once for a repository."""
    put_image(upstream, "tools", "1", amd64(a="b"))
    proxy.bearer = ("x", "fm2_first,fm2_second")
    assert await labels(f"{proxy.address}/tools:1") == {"a": "b"}
    assert [one.path for one in proxy.asked].count("/token") == 1
    proxy.bearer = ("x", "another")
    with pytest.raises(ImageError) as raised:
        await labels(f"{proxy.address}/tools:1")
    assert (raised.value.type, raised.value.retryable) == ("image_pull_failed", "user")


async def test_a_registry_that_denies_basic(proxy: Proxy, upstream: str) -> None:
    """Who gets Basic and names no other way is asked without: GitHub's registry then wants Bearer."""
    digest = put_image(upstream, "tools", "1", amd64(a="b"))
    proxy.bearer, proxy.denies_basic = ("me", "secret"), True
    async with Registry({proxy.address: proxy.bearer}) as registry:
        assert await registry.digest(parse_reference(f"{proxy.address}/tools:1")) == digest
        assert [one.status for one in proxy.asked] == [403, 401, 200, 200]
        assert await registry.labels(parse_reference(f"{proxy.address}/tools:1")) == {"a": "b"}
    assert [one.status for one in proxy.asked][4:] == [200, 200]


async def test_what_docker_login_stored_is_used(
    proxy: Proxy, upstream: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A private base elsewhere is read with the credentials of Docker's own configuration."""
    put_image(upstream, "tools", "1", amd64(a="b"))
    monkeypatch.setenv("FLY_REGISTRY_HOST", "registry.fly.io")
    stored = {"auths": {proxy.address: {"auth": base64.b64encode(b"me:secret").decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    proxy.basic = ("me", "secret")
    assert await labels(f"{proxy.address}/tools:1") == {"a": "b"}


async def test_flys_token_goes_to_no_other_registry(
    proxy: Proxy, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names an image somewhere else does not send our token there, whatever is asked for."""
    put_image(upstream, "tools", "1", amd64())
    monkeypatch.setenv("FLY_REGISTRY_HOST", "registry.fly.io")
    proxy.basic = ("x", "fm2_first,fm2_second")
    with pytest.raises(ImageError):
        await labels(f"{proxy.address}/tools:1")
    assert {one.authorization for one in proxy.asked} == {""}


async def test_who_is_redirected_to_learns_nothing(proxy: Proxy, upstream: str) -> None:
    """Content may lie elsewhere; who asks for a login there gets none of ours."""
    with registry_proxy(upstream) as elsewhere:
        elsewhere.bearer = ("x", "fm2_first,fm2_second")
        proxy.refuse("HEAD /v2/tools/", 307, location=f"http://{elsewhere.address}/v2/tools/manifests/1")
        async with Registry({proxy.address: elsewhere.bearer}) as registry:
            with pytest.raises(RegistryRefused) as raised:
                await registry.digest(parse_reference(f"{proxy.address}/tools:1"))
    assert raised.value.status == 401
    assert proxy.asked[0].authorization != ""
    assert {(one.path, one.authorization) for one in elsewhere.asked} == {("/v2/tools/manifests/1", "")}


async def test_an_upload_that_is_to_go_elsewhere(proxy: Proxy, upstream: str) -> None:
    """A trial upload is given up where it was begun, and nowhere else: nothing is sent to another host."""
    with registry_proxy(upstream) as elsewhere:
        proxy.refuse("POST /v2/app/", 202, location=f"http://{elsewhere.address}/upload")
        async with Registry({proxy.address: ("x", "fm2_token")}) as registry:
            await registry.check_write(parse_reference(f"{proxy.address}/app:1"))
            proxy.refusals.clear()
            await registry.check_write(parse_reference(f"{proxy.address}/app:1"))
    assert elsewhere.asked == []
    assert [(one.method, one.status) for one in proxy.asked] == [
        ("POST", 202),
        ("POST", 202),
        ("DELETE", 204),
    ]


async def test_a_token_service_that_fails_for_a_moment(proxy: Proxy, upstream: str) -> None:
    """It is asked again, as the registry itself would be."""
    put_image(upstream, "tools", "1", amd64(a="b"))
    proxy.bearer = ("x", "fm2_first,fm2_second")
    proxy.refuse("GET /token", 503)
    async with Registry({proxy.address: proxy.bearer}) as registry:
        asking = asyncio.ensure_future(registry.digest(parse_reference(f"{proxy.address}/tools:1")))
        await asyncio.to_thread(proxy.until_asked, 2)
        proxy.refusals.clear()
        assert (await asking or "").startswith("sha256:")
    assert [one.status for one in proxy.asked] == [401, 503, 401, 200, 200]


@pytest.mark.parametrize("realm", ["/token", "http://registry.example/token", "https://a:b", "ftp://a/b"])
async def test_a_token_service_that_cannot_be_asked(proxy: Proxy, upstream: str, realm: str) -> None:
    """An address that is none, or one without TLS, is refused at once, and nothing is sent there."""
    proxy.refuse("HEAD", 401, www_authenticate=f'Bearer realm="{realm}"')
    async with Registry({proxy.address: ("x", "fm2_token")}) as registry:
        async with asyncio.timeout(5):
            with pytest.raises(RegistryRefused) as raised:
                await registry.digest(parse_reference(f"{proxy.address}/tools:1"))
    assert raised.value.status == 0
    assert len(proxy.asked) == 1


async def test_a_registry_that_names_no_digest(proxy: Proxy, upstream: str) -> None:
    """Without the header the digest is that of the manifest itself."""
    digest = put_image(upstream, "tools", "1", amd64(a="b"))
    proxy.refuse("HEAD /v2/tools/", 200)
    async with Registry() as registry:
        assert await registry.digest(parse_reference(f"{proxy.address}/tools:1")) == digest
    assert [one.method for one in proxy.asked] == ["HEAD", "GET"]


async def test_content_under_a_wrong_digest_is_not_believed(proxy: Proxy, upstream: str) -> None:
    """A registry that sends something else than what was asked for by digest is refused."""
    digest = put_image(upstream, "tools", "1", amd64(a="b"))
    proxy.refuse(f"GET /v2/tools/manifests/{digest}", 200, '{"schemaVersion": 2}')
    with pytest.raises(ImageError) as raised:
        await labels(f"{proxy.address}/tools@{digest}")
    assert raised.value.type == "image_pull_failed"


async def test_a_tag_is_added_without_an_engine(proxy: Proxy, upstream: str) -> None:
    """Another name for an image is one manifest read and written again."""
    digest = put_image(upstream, "tools", "1", amd64(a="b"))
    image = parse_reference(f"{proxy.address}/tools@{digest}")
    async with Registry() as registry:
        await registry.add_tag(image, "newest")
        assert await registry.digest(parse_reference(f"{proxy.address}/tools:newest")) == digest


@pytest.mark.parametrize("text", ['{"auths": {"a": 1}}', '{"auths": {"a": {"auth": "YQ=="}}}'])
async def test_a_docker_configuration_that_is_broken(
    proxy: Proxy, upstream: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    """A look-up does without it; the Docker SDK does not, and then that is what is told."""
    put_image(upstream, "tools", "1", amd64(a="b"))
    (tmp_path / "config.json").write_text(text)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(ImageError) as raised:
        await ensure_image("app", base_image=f"{proxy.address}/tools:1")
    assert (raised.value.type, raised.value.retryable) == ("engine_missing", "user")
    assert "config.json" in raised.value.details


async def test_what_has_to_be_built_needs_an_engine(proxy: Proxy, upstream: str) -> None:
    """DOCKER_HOST leads nowhere: the error says so, and only after the look-up."""
    digest = put_image(upstream, "base", "1", amd64())
    with pytest.raises(ImageError) as raised:
        await ensure_image("app", base_image=f"{proxy.address}/base@{digest}")
    assert raised.value.type == "engine_missing"
    assert len(proxy.lookups("app")) == 1


@pytest.mark.parametrize("version", ["1.18", "1.40"])
async def test_an_engine_that_is_too_old(
    proxy: Proxy, upstream: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    """Too old for the SDK or too old for us: the same words, and nothing is sent to it but the question."""
    digest = put_image(upstream, "base", "1", amd64())
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[0])
        body = json.dumps({"Version": "17.03.2-ce", "ApiVersion": version, "MinAPIVersion": "1.12"}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    async with await asyncio.start_unix_server(answer, tmp_path / "engine.sock"):
        with pytest.raises(ImageError, match="too old") as raised:
            await ensure_image("app", base_image=f"{proxy.address}/base@{digest}")
    assert raised.value.type == "engine_missing"
    assert version in raised.value.dev or "no longer supported" in raised.value.dev
    assert asked == ["GET /version HTTP/1.1"]


async def test_an_engine_that_never_answers(
    proxy: Proxy, upstream: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A socket that takes the question and says nothing is no engine, after a few seconds."""
    from flaude_action import engine

    digest = put_image(upstream, "base", "1", amd64())
    monkeypatch.setattr(engine, "ANSWER_S", 0.3)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    held: list[asyncio.StreamWriter] = []
    async with await asyncio.start_unix_server(
        lambda _, writer: held.append(writer), tmp_path / "engine.sock"
    ):
        with pytest.raises(ImageError) as raised:
            await ensure_image("app", base_image=f"{proxy.address}/base@{digest}")
        for writer in held:
            writer.close()
    assert raised.value.type == "engine_missing"


async def test_an_untrusted_commit_builds_nothing(proxy: Proxy, upstream: str) -> None:
    """With `may_build` False a miss ends before any engine is asked."""
    digest = put_image(upstream, "base", "1", amd64())
    with pytest.raises(ImageError) as raised:
        await ensure_image("app", base_image=f"{proxy.address}/base@{digest}", may_build=False)
    assert raised.value.type == "image_untrusted"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passing errors are given up after half a second."""
    monkeypatch.setattr(Registry.__init__, "__kwdefaults__", {"patience_s": 0.5})
