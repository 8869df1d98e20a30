"""Every form of every credential the runner holds: shown in no place, and let through to no machine."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.fly import localfly
from tests.support.step import GITHUB_TOKEN, Ended, Stage, launch, make_repository, post

from flaude_action.errors import ConfigError, FlyAPIError, ImageError
from flaude_action.image import labels
from flaude_action.machine_config import MachineConfig
from flaude_action.repo_spec import RepoSpec
from flaude_action.run import ensure_app, run_and_destroy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

FIRST, SECOND = "fm2_lJPEC" + "aB1c" * 20, "fm2_lJPET" + "dE2f" * 30
TOKEN = f"FlyV1 {FIRST},{SECOND}"
OLD = "fo1_" + "Zx9w" * 10
GRANT, REFRESH = "eyJhbGciOi" + "grAnt1" * 8, "refresh-" + "grAnt2" * 8
PASSWORD = "dckr_pat_" + "pA55w0rd" * 3


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Stage]:
    """A Fly that refuses what the tests want; no model and no git host are ever reached."""
    async with localfly() as fly:
        yield Stage(fly, "http://127.0.0.1:9", "http://127.0.0.1:9", tmp_path, make_repository(tmp_path))


def shown(ended: Ended) -> dict[str, str]:
    """What can be seen of a step, by place. The masks are told to the runner, which shows none of them."""
    lines = [line for line in ended.log.splitlines() if not line.startswith("::add-mask::")]
    files = {path.name: path.read_text() for path in ended.workspace.rglob("*") if path.is_file()}
    return {
        "log": "\n".join(lines),
        "summary": ended.summary.replace("\\", ""),
        "outputs": json.dumps(ended.outputs),
        "annotations": json.dumps(ended.annotations),
        **files,
    }


def places_with(ended: Ended, secret: str) -> list[str]:
    return [place for place, text in shown(ended).items() if secret in text]


def masks(log: str) -> list[str]:
    return [line.removeprefix("::add-mask::") for line in log.splitlines() if line.startswith("::add-mask::")]


def write(variables: Mapping[str, str], name: str, text: str) -> None:
    Path(variables["GITHUB_WORKSPACE"], name).write_text(text)


SPELLINGS = [
    f"FlyV1 {FIRST},{SECOND}",
    f"{FIRST},{SECOND}",
    f"FlyV1 {SECOND},{FIRST}",
    f"Bearer FlyV1 {FIRST},{SECOND}",
    f"flyv1 {FIRST} , {SECOND}",
    f"{FIRST},{OLD},{SECOND}",
    f"bearer {SECOND}, {FIRST}",
]


@pytest.mark.parametrize("token", SPELLINGS)
async def test_fly_quotes_a_part_of_the_token(here: Stage, token: str) -> None:
    """A refusal that quotes any of what the token is made of, or was made into, shows nothing of it."""
    quoted = [SECOND, FIRST, f"FlyV1 {FIRST},{SECOND}", base64_of(f"x:{FIRST},{SECOND}")]
    await here.fly.fault("/v1/apps/", status=403, times=9, body={"error": f"no: {' ; '.join(quoted)}!"})
    ended = await here.step(fly_api_token=token, environ={"RUNNER_DEBUG": "1"})
    assert ended.outputs["error_type"] == "machine_auth_failed"
    assert "***" in ended.log
    for form in (FIRST, SECOND, base64_of(f"x:{FIRST},{SECOND}")[8:-8]):
        assert places_with(ended, form) == []
    assert {token, FIRST, SECOND} <= set(masks(ended.log))
    assert masks(ended.log)[0] == ended.log.splitlines()[0].removeprefix("::add-mask::")


@pytest.mark.parametrize(
    "token", [f'"FlyV1 {FIRST},{SECOND}"', f"FlyV1 {FIRST},\n{SECOND}", f"FlyV1 {FIRST} {SECOND}",
              f"FlyV1 {FIRST[:40]}\n{FIRST[40:]},{SECOND}", f'{{"token": "FlyV1 {FIRST},{SECOND}"}}'],
)  # fmt: skip
async def test_a_token_that_is_none_is_masked_too(here: Stage, token: str) -> None:
    """Quoted, or with line ends in it, it is refused; masked it is before anything else is said."""
    ended = await here.step(fly_api_token=token, env=f"A: '{SECOND}'")
    assert ended.outputs["conclusion"] == "failure"
    assert SECOND in masks(ended.log)
    assert places_with(ended, SECOND) == []
    assert places_with(ended, FIRST) == []


FORMS = {
    "first part": FIRST,
    "second part": SECOND,
    "without scheme": f"{FIRST},{SECOND}",
    "as Bearer": f"Bearer {FIRST}",
    "registry login": base64_of(f"x:{FIRST},{SECOND}"),
    "base64": base64_of(FIRST),
    "hex": SECOND.encode().hex(),
    "engine's header": base64_of(json.dumps({"username": "x", "password": f"{FIRST},{SECOND}"})),
    "wrapped": f"{FIRST[:30]}\n  {FIRST[30:]}",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_no_form_of_the_fly_token_goes_to_the_machine(here: Stage, form: str) -> None:
    """In every input that reaches it, and in the files they name; each input is told, and nothing is sent."""
    escaped = json.dumps({"env": {"A": form}})
    inputs = {
        "prompt": f"Use {form}",
        "setup": f"echo '{form}'",
        "env": f"A: {json.dumps(form)}",
        "claude_args": f"--effort '{form}'",
        "append_system_prompt": form,
        "settings": escaped.replace("f", "\\u0066").replace("\\u0066alse", "false"),
        "json_schema": json.dumps({"title": form}),
    }
    ended = await here.step(fly_api_token=TOKEN, **inputs)
    assert ended.exit_code == 2
    for name in inputs:
        assert any(
            f"`{name}`: It holds the value of `fly_api_token`" in each for each in ended.of_level("error")
        )
    assert await here.fly.requests() == []
    assert places_with(ended, form) == []


@pytest.mark.parametrize("name", ["prompt_file", "settings", "json_schema", "dockerfile"])
async def test_nor_does_it_in_a_file(here: Stage, name: str) -> None:
    """What an input names is looked at as well."""
    given = {"prompt": None} if name == "prompt_file" else {}
    given |= {"image": None} if name == "dockerfile" else {}
    variables = here.variables({"fly_api_token": TOKEN, name: "named", **given}, {})
    write(variables, "named", json.dumps({"x": SECOND}))
    ended = await (await launch(variables)).ended()
    assert f"`{name}`: It holds the value of `fly_api_token`" in "\n".join(ended.of_level("error"))


@pytest.mark.parametrize(
    ("name", "text"),
    [("anthropic_base_url", f"https://gateway.example/{FIRST}"), ("model", FIRST), ("allowed_tools", FIRST),
     ("repository", f"https://git.example/{FIRST}/x.git"), ("ref", FIRST), ("image", f"r.example/x:{FIRST}"),
     ("extra_repositories", f"acme/{FIRST}")],
)  # fmt: skip
async def test_nor_does_it_in_a_name(here: Stage, name: str, text: str) -> None:
    """Short inputs go to the machine, or into Fly's record of it, as well."""
    ended = await here.step(fly_api_token=TOKEN, **{name: text})
    assert f"`{name}`: It holds the value of `fly_api_token`" in "\n".join(ended.of_level("error"))
    assert await here.fly.requests() == []


@pytest.mark.parametrize("name", ["clone_token", "anthropic_api_key", "claude_code_oauth_token"])
async def test_nor_does_it_as_another_credential(here: Stage, name: str) -> None:
    """One part of the token, as a credential that the machine gets, is found as well."""
    more = {"claude_code_oauth_token": None} if name == "anthropic_api_key" else {}
    ended = await here.step(fly_api_token=TOKEN, **{**more, name: SECOND})
    assert "never goes to a machine" in "\n".join(ended.of_level("error"))
    assert await here.fly.requests() == []


HELD = {
    "FLY_API_TOKEN": (TOKEN, SECOND),
    "ACTIONS_RUNTIME_TOKEN": (GRANT, GRANT),
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": (GRANT, GRANT),
    "GITHUB_TOKEN": ("ghs_" + "9f8e" * 9, base64_of("x-access-token:ghs_" + "9f8e" * 9)),
    "HTTPS_PROXY": (f"http://me:{PASSWORD}@127.0.0.1:9", PASSWORD),
}


@pytest.mark.parametrize(("name", "value", "form"), [(name, *pair) for name, pair in HELD.items()], ids=HELD)
async def test_what_the_environment_holds(here: Stage, name: str, value: str, form: str) -> None:
    """A token that stands in the step's environment is masked, and refused for the machine."""
    ended = await here.step(environ={name: value, "NO_PROXY": "127.0.0.1"}, prompt=f"use {form}")
    assert form in masks(ended.log)
    [error] = ended.of_level("error")
    assert "`prompt`: It holds the value of" in error
    assert name in error or "proxy" in error
    assert places_with(ended, form) == []


async def test_a_token_under_two_names_is_told_once(here: Stage) -> None:
    """Workflows often have the same token as a variable and as an input."""
    held = {"FLY_API_TOKEN": SECOND, "GITHUB_TOKEN": GITHUB_TOKEN}
    ended = await here.step(environ=held, fly_api_token=TOKEN, prompt=f"{SECOND} {GITHUB_TOKEN}")
    assert len(ended.of_level("error")) == 2


LOGINS = {
    "auths": {
        "https://index.docker.io/v1/": {"auth": base64_of(f"me:{PASSWORD}")},
        "ghcr.io": {"identitytoken": REFRESH, "auth": base64_of("00000000:")},
        "old.example": {"username": "me", "password": PASSWORD[::-1]},
        "plain.example": {"auth": base64_of("postgres:postgres")},
        "broken.example": {"auth": 7, "registrytoken": GRANT},
        "odd.example": 1,
    }
}


@pytest.mark.parametrize(
    "form",
    [PASSWORD, base64_of(f"me:{PASSWORD}"), REFRESH, PASSWORD[::-1], GRANT, base64_of("postgres:postgres")],
)
async def test_earlier_docker_logins(here: Stage, form: str) -> None:
    """What `docker login` stored is masked and refused, in every form; a plain word is masked alone."""
    (here.folder / "config.json").write_text(json.dumps(LOGINS))
    environ = {"DOCKER_CONFIG": str(here.folder)}
    ended = await here.step(environ=environ, prompt=f"postgres: {form}")
    assert form in masks(ended.log)
    assert "postgres" in masks(ended.log)
    [error] = ended.of_level("error")
    assert "an earlier `docker login`" in error
    assert places_with(ended, form) == []


async def test_a_plain_word_is_no_proof(here: Stage) -> None:
    """A prompt may name the database although a login of this runner has that word for a password."""
    (here.folder / "config.json").write_text(json.dumps(LOGINS))
    await here.fly.fault("/v1/apps/", status=403, times=9, body={"error": "no"})
    ended = await here.step(environ={"DOCKER_CONFIG": str(here.folder)}, prompt="Start postgres.")
    assert ended.outputs["error_type"] == "machine_auth_failed"


@contextlib.contextmanager
def quoting_registry(*, token_service: bool) -> Iterator[str]:
    """A registry that refuses everything and quotes what it was sent; perhaps only after granting a token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address, sent = f"127.0.0.1:{self.server.server_port}", self.headers.get("authorization", "")  # type: ignore[attr-defined]
            if self.path.startswith("/token"):
                self._say(200, {"token": GRANT, "refresh_token": REFRESH})
            elif token_service and not sent.startswith("Bearer"):
                self._say(401, {}, f'Bearer realm="http://{address}/token",service="x"')
            else:
                said = f"not with {sent} nor {REFRESH if token_service else ''}"
                self._say(403, {"errors": [{"code": "DENIED", "message": said}]})

        do_POST = do_GET  # noqa: N815

        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def _say(self, status: int, document: Mapping[str, object], challenge: str = "") -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            if challenge:
                self.send_header("www-authenticate", challenge)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


GRANTED = [GRANT, REFRESH]


def nothing_in(error: ImageError, *secrets: str) -> bool:
    told = f"{error} {error!r} {error.details} {error.dev} {json.dumps(error.as_json(debug=True))}"
    chain = f"{error.__cause__} {error.__cause__!r}"
    return "***" in error.dev and not any(secret in told + chain for secret in secrets)


async def test_what_registries_grant_is_masked_when_it_comes(here: Stage) -> None:
    """For a login of ours; what anybody is granted is no secret, and masks nothing."""
    with quoting_registry(token_service=True) as address:
        environ = {"FLY_REGISTRY_HOST": address}
        await here.fly.fault("/machines", status=403, times=9, body={"error": f"no: {GRANT} {REFRESH}"})
        ended = await here.step(environ=environ, fly_api_token=TOKEN, image=f"{address}/local:1")
        other = await here.step(environ={"FLY_REGISTRY_HOST": "127.0.0.1:9"}, base_image=f"{address}/local:1",
                                image=None, fly_api_token=TOKEN)  # fmt: skip
    assert set(GRANTED) <= set(masks(ended.log))
    assert [places_with(ended, secret) for secret in GRANTED] == [[], []]
    assert not {*GRANTED} & {*masks(other.log)}


@pytest.mark.parametrize("token_service", [True, False])
async def test_a_registry_quotes_what_it_was_sent(
    monkeypatch: pytest.MonkeyPatch, *, token_service: bool
) -> None:
    """Nor does the library's own error hold it: its caller prints that."""
    with quoting_registry(token_service=token_service) as address:
        monkeypatch.setenv("FLY_REGISTRY_HOST", address)
        learned: list[str] = []
        with pytest.raises(ImageError) as raised:
            await labels(f"{address}/app:1", token=TOKEN, learned=learned.extend)
    assert nothing_in(raised.value, FIRST, SECOND, GRANT, REFRESH, base64_of(f"x:{FIRST},{SECOND}")[4:-8])
    assert learned == (GRANTED if token_service else [])


@pytest.mark.docker
async def test_a_registry_quotes_it_in_a_step_that_builds(here: Stage) -> None:
    """Not even under step debug, where the registry's words are told, is any of it in the clear."""
    with quoting_registry(token_service=True) as address:
        base = f"{address}/base@sha256:{'0' * 64}"
        environ = {
            "FLY_REGISTRY_HOST": address,
            "RUNNER_DEBUG": "1",
            "DOCKER_HOST": os.environ.get("DOCKER_HOST", ""),
        }
        ended = await here.step(environ=environ, fly_api_token=TOKEN, image=None, base_image=base)
    assert ended.outputs["error_type"] == "image_push_failed"
    assert "not with Bearer ***" in ended.log
    for secret in (*GRANTED, FIRST, SECOND):
        assert places_with(ended, secret) == []


async def test_post_masks_them_too(here: Stage) -> None:
    """The stage after the job asks Fly again, and says why that failed."""
    await here.fly.fault("/v1/apps/", status=403, times=9, body={"error": f"no: {SECOND}"})
    variables = here.variables({"fly_api_token": TOKEN}, {"FLY_API_TOKEN": OLD, "RUNNER_DEBUG": "1"})
    said = await post(variables | {"STATE_nonce": "0" * 16, "STATE_app": "local"})
    assert {FIRST, SECOND, OLD} <= set(masks(said))
    assert SECOND not in "\n".join(line for line in said.splitlines() if not line.startswith("::add-mask::"))
    assert "::warning" in said


async def test_doctor_hides_them(here: Stage) -> None:
    """The verb for people prints Fly's words, and no part of the token."""
    await here.fly.fault("/v1/apps/", status=403, times=9, body={"error": f"no: {SECOND} {base64_of(FIRST)}"})
    variables = here.variables({}, {"FLY_API_TOKEN": TOKEN})
    ended = await (await launch(variables, "-m", "flaude_action", "doctor", "--app", "local")).ended()
    assert "Fly's words: no: *** ***" in ended.log
    assert SECOND not in ended.log


async def test_the_library_s_errors_hide_them(here: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller may print what it catches, and log its `detail`."""
    monkeypatch.setenv("FLY_FLAPS_BASE_URL", here.fly.flaps_url)
    await here.fly.fault("/v1/apps/", status=403, times=9, body={"error": f"no: {SECOND} {FIRST}"})
    with pytest.raises(FlyAPIError) as raised:
        await ensure_app("local", token=TOKEN)
    error = raised.value
    told = f"{error} {error!r} {error.detail} {error.dev} {error.args} {error.as_json(debug=True)}"
    assert "no: *** ***" in told
    assert FIRST not in told
    assert SECOND not in told


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", f"use {SECOND}"),
        ("setup", f"echo {FIRST}"),
        ("env", {"A": SECOND}),
        ("claude_args", [FIRST]),
        ("settings", json.dumps({"a": SECOND}).replace("f", "\\u0066")),
        ("append_system_prompt", base64_of(FIRST)),
        ("repos", [f"https://git.example/{FIRST}"]),
        ("repos", [RepoSpec("https://git.example/x", token=SECOND)]),
        ("claude_code_oauth_token", SECOND),
        ("metadata", {"a": FIRST}),
    ],
)
async def test_the_library_lets_none_of_it_through(here: Stage, field: str, value: object) -> None:
    """A machine that the library starts is not told the Fly token either."""
    given = {"prompt": "p", "claude_code_oauth_token": "sk-ant-oat01-abc", field: value}
    with pytest.raises(
        ConfigError, match=f"MachineConfig.{field} holds the value of the Fly token"
    ) as raised:
        await run_and_destroy("local", MachineConfig(**given), token=TOKEN)
    assert FIRST not in str(raised.value)
    assert SECOND not in str(raised.value)
    assert await here.fly.requests() == []
