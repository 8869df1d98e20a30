"""Ends before, around and after the work: refusals, boots, clones, setups, stops, logs, odd documents."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from tests.support.corpus import (
    ALWAYS,
    EVENT,
    NONE,
    RESULT,
    STATUS,
    Act,
    Case,
    after,
    guest_says,
    order,
    respond,
    send,
)
from tests.support.corpus_machine import BUSY, LOST, WORKING

from flaude_guest.protocol import digest
from localfly.githost import PRIVATE_TOKEN_FILE

if TYPE_CHECKING:
    from pathlib import Path

CREATE = r"/machines$"


def refused(name: str, type_: str, status: int, body: object, **more: Any) -> Case:
    """Fly does not make the machine."""
    faults = (respond(CREATE, status, body, method="POST"),)
    return Case(f"create: {name}", type_, NONE, faults=faults, **more)


def error(text: str, **more: str) -> dict[str, str]:
    return {"error": text} | more


CREATING = [
    refused("no host", "machine_capacity", 422, error("could not find a candidate host",
            status="insufficient_capacity")),
    refused("no memory on the host", "machine_capacity", 409,
            error("aborted: insufficient resources available to fulfill request: insufficient memory")),
    refused("a code without a phrase", "machine_capacity", 503, error("no", status="insufficient_capacity")),
    refused("over the quota", "machine_quota_exceeded", 403,
            error('organization "X" is using 1970176 MB of memory in dfw which is over the allowed quota.')),
    refused("no payment method", "machine_quota_exceeded", 422,
            error("To create more than 1 machine per app please add a payment method.")),
    refused("invalid", "machine_create_rejected", 400, error("invalid_argument: invalid config.guest")),
    refused("unprocessable", "machine_create_rejected", 422, error("invalid: unsupported image")),
    refused("an empty 400", "machine_create_rejected", 400, ""),
    refused("the token may not", "machine_auth_failed", 403, error("forbidden")),
    refused("the token ended", "machine_auth_failed", 401, error("Authenticate: token validation error")),
    refused("the app went away", "app_not_found", 404, error("Could not find App")),
    refused("a storm of 500", "machine_api_unavailable", 500, error("internal: oops")),
    refused("a proxy's HTML", "machine_api_unavailable", 502, "<html><h1>Bad gateway</h1></html>"),
    refused("too many requests", "machine_quota_exceeded", 429, error("rate limit exceeded"), slow=True),
    Case("create: every answer lost", "machine_api_unavailable", NONE,
         faults=({"path": CREATE, "method": "POST", "action": "drop", "times": 1000},)),
    Case("create: one answer lost, the machine was made", "", RESULT,
         faults=({"path": CREATE, "method": "POST", "action": "lose_answer"},)),
    Case("create: one 500, then made", "", RESULT, faults=(respond(CREATE, 500, "", method="POST",
         times=1),)),
    Case("create: an answer that is no machine", "machine_api_unavailable", NONE,
         faults=(respond(CREATE, 200, [], method="POST"),)),
    refused("somebody has the name", "machine_create_rejected", 409, error(
            'already_exists: unique machine name violation, machine ID 148e306f3e1683 already exists')),
    Case("create: the only region is full", "machine_capacity", NONE, settings={"full_regions": ["fra"]},
         inputs={"regions": "fra"}),
    Case("create: the first region is full", "", RESULT, settings={"full_regions": ["fra"]},
         inputs={"regions": "fra ams"}),
    Case("create: the image is refused", "machine_create_rejected", NONE,
         settings={"missing_image": "refused"},
         inputs={"image": "nobody/has:this"}),
    Case("preflight: no such app", "app_not_found", NONE, exits=2, inputs={"fly_app": "another"}),
    Case("preflight: token refused", "machine_auth_failed", NONE, exits=2,
         settings={"tokens": ["fm2_other"]}),
    Case("preflight: no prompt", "prompt_missing", NONE, exits=2, inputs={"prompt": ""}),
    Case("preflight: Fly is down", "machine_api_unavailable", NONE, slow=True,
         faults=(respond(r"/v1/apps/local$", 503, "busy"),)),
]  # fmt: skip


def program(text: str, **members: Any) -> dict[str, Any]:
    """An image that says our guest is in it, and runs this instead."""
    return {"argv": ["sh", "-c", text]} | members


BOOTING = [
    Case("boot: the image is missing", "machine_failed", STATUS, says="Nothing ever ran on it",
         inputs={"image": "nobody/has:this"}),
    Case("boot: the entrypoint is another and ends with 0", "boot_marker_missing", EVENT,
         guest=program("exit 0"), code="0"),
    Case("boot: the entrypoint is another and fails", "machine_exit_nonzero", EVENT, guest=program("exit 9"),
         code="9"),
    Case("boot: the entrypoint cannot start", "entrypoint_crashed", EVENT, guest=program("exec /not/there"),
         code="127"),
    Case("boot: the guest finds its machine unusable", "environment_unusable", EVENT,
         guest={"env": {"FLAUDE_RUN_DIR": "/dev/null/run"}}, code="70", **LOST),
    Case("boot: the guest's program is missing", "boot_marker_missing", NONE,
         guest={"argv": ["sleep", "60"], "path": []}),
    Case("boot: the guest answers rubbish", "boot_marker_missing", NONE,
         faults=(guest_says("Traceback ..."),), **LOST),
    Case("boot: the guest answers nothing", "boot_marker_missing", NONE, faults=(guest_says(""),), **LOST),
    Case("boot: exec is refused", "machine_exec_refused", NONE,
         faults=(respond("/exec$", 403, error("unauthorized")),), **LOST),
    Case("boot: there is no exec", "machine_exec_refused", NONE,
         faults=(respond("/exec$", 404, "404 page not found"),), **LOST),
    Case("boot: the label has another protocol", "protocol_mismatch", NONE,
         guest={"labels": {"flaude.guest.protocol": "2"}}),
    Case("boot: the guest speaks another protocol", "protocol_mismatch", NONE,
         faults=(guest_says({"protocol": 2, "seq": 1, "phase": "waiting"}),), **LOST),
    Case("boot: the guest has another nonce", "protocol_mismatch", NONE,
         faults=(guest_says({"protocol": 1, "nonce": "f" * 16, "seq": 1, "phase": "waiting"}),), **LOST),
    Case("boot: the guest refuses the job", "protocol_mismatch", NONE, faults=(guest_says(
        {"protocol": 1, "accepted": False, "seq": 1, "phase": "waiting"}),), **LOST),
    Case("boot: slow", "", RESULT, settings={"boot_delay_s": 1.0}),
    Case("boot: an answer to provision is lost", "", RESULT,
         faults=({"path": "/exec$", "action": "lose_answer", "skip": 1},)),
    Case("boot: exec is not ready at first", "", RESULT,
         faults=(respond("/exec$", 412, error("failed_precondition: machine not running"), times=2),)),
    Case("boot: exec leaves the zero out", "", RESULT, settings={"exec_exit_code_zero": "omitted"}),
]  # fmt: skip
PATIENT = [
    Case("boot: it never starts", "machine_boot_timeout", NONE, settings={"boot_delay_s": 900.0}, slow=True,
         **LOST),
    Case("boot: exec is never ready", "boot_marker_missing", NONE, guest=program("sleep 900"), slow=True,
         faults=(respond("/exec$", 412, error("failed_precondition: machine not running")),)),
]  # fmt: skip
"""What takes minutes, because so long do we wait."""


def private(repositories: Path) -> None:
    (repositories / "acme" / "widget.git" / PRIVATE_TOKEN_FILE).write_text("a-token-that-nobody-has")


def removed(repositories: Path) -> None:
    (repositories / "acme" / "widget.git").rename(repositories / "acme" / "moved.git")


def broken(repositories: Path) -> None:
    (repositories / "acme" / "widget.git" / "HEAD").unlink()


CLONE = {"repository": "acme/widget"}
WORK = [
    Case("clone: private and no token", "clone_auth_failed", RESULT, prepared=private,
         inputs={"github_token": ""}),
    Case("clone: private and a wrong token", "clone_auth_failed", RESULT, prepared=private,
         inputs={"clone_token": "ghs_thisTokenIsNotTheRightOne00"}),
    Case("clone: no such repository", "clone_auth_failed", RESULT, prepared=removed),
    Case("clone: no such branch", "clone_ref_not_found", RESULT, inputs=CLONE | {"ref": "gone"}),
    Case("clone: no such commit", "clone_ref_not_found", RESULT, inputs=CLONE | {"ref": "1" * 40}),
    Case("clone: nobody answers", "clone_failed", RESULT, slow=True,
         inputs={"repository": "http://127.0.0.1:9/acme/widget.git", "ref": "main"}),
    Case("setup fails", "setup_command_failed", RESULT, inputs={"setup": "exit 3"}, code="3"),
    Case("setup fails at its first command", "setup_command_failed", RESULT,
         inputs={"setup": "false\ntrue"}, code="1"),
    Case("setup names a program that is not there", "setup_command_failed", RESULT,
         inputs={"setup": "no-such-program"}, code="127"),
    Case("setup is killed", "setup_command_failed", RESULT, inputs={"setup": "kill -9 $$"}, code="137"),
    Case("setup forges a good end", "setup_command_failed", RESULT,
         inputs={"setup": "echo '[flaude:exit:0]'; exit 4"}, code="4"),
    Case("setup takes too long", "run_timeout", RESULT, inputs={"setup": "sleep 60", "timeout": "1s"},
         code="124"),
    Case("setup works", "", RESULT, inputs={"setup": "echo ready > prepared.txt"}),
]  # fmt: skip


def cancelled(name: str, *acts: Act, source: str = NONE, type_: str = "cancelled", **more: Any) -> Case:
    return Case(f"cancel {name}", type_, source, acts=acts, **more)


DELAYED = {"path": "/exec$", "action": "delay", "seconds": 1.5}
SLOW_FILES = order(DELAYED)
STOPPING = [
    cancelled("while the machine is made", after("Creating machine"), send(signal.SIGINT),
              settings={"boot_delay_s": 2.0}),
    cancelled("while create is not answered", after("Creating machine"), send(signal.SIGINT),
              faults=({"path": CREATE, "method": "POST", "action": "delay", "seconds": 0.4},)),
    cancelled("while setup runs", after("runs `setup`"), send(signal.SIGINT), source=RESULT,
              inputs={"setup": "sleep 60"}),
    cancelled("while Claude Code works", WORKING, send(signal.SIGINT), source=RESULT, **BUSY),
    cancelled("at once", WORKING, send(signal.SIGTERM), **BUSY),
    cancelled("and then at once", WORKING, order(DELAYED | {"times": ALWAYS}), send(signal.SIGINT),
              send(signal.SIGTERM), **BUSY),
    cancelled("of a foreign image", after("| ready"), send(signal.SIGINT), runs="echo ready; sleep 60"),
    cancelled("after a good result", after("The result is ready"), SLOW_FILES, send(signal.SIGINT), type_="",
              source=RESULT),
    cancelled("after a bad result", after("The result is ready"), SLOW_FILES, send(signal.SIGINT),
              source=RESULT, plays="maxturns"),
]  # fmt: skip

LOGS = [
    Case("log: refused", "", RESULT, settings={"logs_readable": False}, **LOST),
    Case("log: refused, and the run failed", "max_turns_reached", RESULT, plays="maxturns",
         settings={"logs_readable": False}, **LOST),
    Case("log: late", "", RESULT, settings={"log_lag_s": 1.5}),
    Case("log: lost", "", RESULT, slow=True, faults=(respond(r"/logs\b", 200, {"data": [], "meta": {}}),),
         **LOST),
    Case("log: the host fails", "", RESULT, slow=True, faults=(respond(r"/logs\b", 500, "busy"),), **LOST),
    Case("log: rubbish", "", RESULT, slow=True, faults=(respond(r"/logs\b", 200, "<html>"),), **LOST),
    Case("log: repeats at its page boundaries", "", RESULT, settings={"log_boundary": "repeat",
         "log_timestamp_step_ns": 10**6}),
]  # fmt: skip


def result(**changes: Any) -> dict[str, Any]:
    """A guest's result as it could be; `changes` with `...` take a member away."""
    whole: dict[str, Any] = {
        "protocol": 1,
        "ok": True,
        "exit_code": 0,
        "error": None,
        "agent": {"result": "Done.", "num_turns": 2, "cost_usd": 0.1, "session_id": "s"},
        "changeset": None,
        "files": {},
        "times": {},
        "warnings": [],
    }
    return {key: value for key, value in (whole | changes).items() if value is not ...}


def document(name: str, type_: str, source: str, result: Any, *, sealed: bool = True, **more: Any) -> Case:
    """The guest answers everything with this result, under its digest when `sealed`; no machine made it."""
    said = {"protocol": 1, "accepted": True, "seq": 9, "phase": "hold", "times": {}, "result": result}
    said |= {"result_digest": digest(result) if sealed else "sha256:" + "0" * 64}
    said |= more.pop("status", {})
    return Case(f"document: {name}", type_, source, faults=(guest_says(said),), **(LOST | more))


DOCUMENTS = [
    document("good", "", RESULT, result()),
    document("wrong digest", "result_tampered", NONE, result(), sealed=False),
    document("no digest", "result_tampered", NONE, result(), status={"result_digest": None}),
    document("no digest, and it says failure", "result_tampered", NONE, result(ok=False), sealed=False),
    document("empty", "agent_error", RESULT, {}),
    document("ok is a word", "agent_error", RESULT, result(ok="true")),
    document("ok is one", "agent_error", RESULT, result(ok=1)),
    document("ok is missing", "agent_error", RESULT, result(ok=...)),
    document("exit code is false", "agent_error", RESULT, result(exit_code=False)),
    document("exit code is a word", "agent_error", RESULT, result(exit_code="0")),
    document("exit code is missing", "agent_error", RESULT, result(exit_code=...)),
    document("exit code is absurd", "agent_error", RESULT, result(exit_code=10**30)),
    document("exit code contradicts", "agent_error", RESULT, result(exit_code=3), code="3"),
    document("an error beside ok", "agent_oom", RESULT, result(error={"type": "agent_oom"})),
    document("an error that is a word", "agent_error", RESULT, result(error="boom")),
    document("an error of a type we do not know", "agent_error", RESULT, result(ok=False, exit_code=1,
             error={"type": "brand_new"})),
    document("an error whose type is a list", "agent_error", RESULT, result(ok=False, exit_code=1,
             error={"type": ["x"]})),
    document("an error with odd members", "max_turns_reached", RESULT,
             result(ok=False, exit_code=1, error={"type": "max_turns_reached", "details": 7, "line": ["x"],
             "retry_at": "soon"})),
    document("absurd numbers", "", RESULT, result=result(
        agent={"result": 7, "num_turns": -(10**40), "cost_usd": 1e300, "session_id": ["x"]}, lines="many",
        oom=[])),
    document("numbers that are words", "", RESULT, result=result(
        agent={"result": None, "num_turns": "two", "cost_usd": "cheap", "structured_output": {"a": [1]}})),
    document("members of other types", "", RESULT, result=result(
        agent="text", files=[], changeset=[], times=[], warnings=NONE, setup=7, base_sha=None)),
    document("times of other types", "", RESULT, result(), status={"times": {"agent": ["a", None],
             "fetch": 3, "x": {}}}),
    document("changes without a patch", "collect_failed", RESULT, result(changeset={"files": 3})),
    document("a file that is larger than we take", "collect_failed", RESULT, result(
        changeset={"files": 1}, files={"patch": {"size": 10**12, "sha256": "0" * 64}})),
    document("a warning of an unknown type", "", RESULT, result(warnings=[{"type": "brand_new"}, None,
             {"type": 3}])),
    Case("document: the answers are cut off", "collect_failed", RESULT,
         settings={"exec_output_max_bytes": 4000},
         inputs={"setup": "head -c 9000 /dev/urandom | base64 > large.txt"}),
    Case("document: the guest forgets its words", "guest_lost", NONE, acts=(WORKING,
         order(guest_says("Traceback"))), **BUSY, **LOST),
    Case("document: exec fails for a while", "", RESULT, slow=True,
         faults=(respond("/exec$", 500, "busy", skip=2, times=25),)),
]  # fmt: skip

DELETE = {"method": "DELETE", "times": 1000}
CLEANUP = [
    Case("cleanup: destroy fails", "", RESULT, slow=True, leaves=True, warned=("cleanup_failed",),
         faults=(respond("/machines/", 500, "busy", **DELETE),)),
    Case("cleanup: destroy is refused", "", RESULT, leaves=True, warned=("cleanup_failed",),
         faults=(respond("/machines/", 409, error("lease currently held"), **DELETE),)),
    Case("cleanup: already gone", "", RESULT, settings={"destroyed_retention_s": 0.0}),
]  # fmt: skip

CASES = [*CREATING, *BOOTING, *WORK, *STOPPING, *LOGS, *DOCUMENTS, *CLEANUP]
