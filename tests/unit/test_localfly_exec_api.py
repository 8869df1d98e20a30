"""localfly.exec_api: commands inside a machine, and the assumptions about them."""

from pathlib import Path

import pytest
from tests.support.fly_inside import fly_inside

from localfly.backend import ExecResult


async def test_a_command_gets_its_stdin_and_answers_with_its_output(tmp_path: Path) -> None:
    """200 whatever the command's code is."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        workload.answer = ExecResult(3, b"out \xff", b"err")
        body = {"command": ["prog", "a b"], "stdin": "Grüße", "timeout": 5}
        answer = await fly.call("POST", f"/machines/{machine}/exec", body)
        assert (answer.status_code, answer.json()) == (
            200,
            {"stdout": "out \ufffd", "stderr": "err", "exit_code": 3, "exit_signal": 0},
        )
        [execution] = workload.executions
        assert (execution.command, execution.stdin, execution.as_root) == (
            ["prog", "a b"],
            "Grüße".encode(),
            True,
        )


async def test_the_deprecated_cmd_is_split_into_words(tmp_path: Path) -> None:
    """No shell is involved."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        await fly.call("POST", f"/machines/{machine}/exec", {"cmd": "echo 'a b' $HOME"})
        assert workload.executions[0].command == ["echo", "a b", "$HOME"]


async def test_exit_code_zero_may_be_left_away(tmp_path: Path) -> None:
    """As fly-go's omitempty would have it."""
    async with fly_inside(tmp_path, exec_exit_code_zero="omitted") as fly:
        machine, workload = await fly.started()
        body = {"command": ["true"]}
        assert (await fly.call("POST", f"/machines/{machine}/exec", body)).json() == {"stdout": ""}
        workload.answer = ExecResult(1, b"", b"")
        answer = (await fly.call("POST", f"/machines/{machine}/exec", body)).json()
        assert answer == {"stdout": "", "exit_code": 1}


async def test_a_command_that_takes_too_long_is_408(tmp_path: Path) -> None:
    """Its own timeout counts, and no timeout goes beyond the platform's."""
    async with fly_inside(tmp_path, exec_timeout_max_s=0.01) as fly:
        machine, workload = await fly.started()
        workload.answer_delay_s = 5
        body = {"command": ["sleep"], "timeout": 30}
        answer = await fly.call("POST", f"/machines/{machine}/exec", body)
        assert answer.status_code == 408
        assert answer.json()["error"].startswith("deadline_exceeded:")


async def test_a_machine_that_does_not_run_refuses(tmp_path: Path) -> None:
    """The recorded sentence, before the start and after the end."""
    async with fly_inside(tmp_path, boot_delay_s=30) as fly:
        machine = (await fly.create())["id"]
        answer = await fly.call("POST", f"/machines/{machine}/exec", {"command": ["true"]})
        assert (answer.status_code, answer.json()) == (
            412,
            {"error": "failed_precondition: machine not running"},
        )


async def test_stdin_has_a_limit(tmp_path: Path) -> None:
    """A byte more is refused, and nothing runs."""
    async with fly_inside(tmp_path, exec_stdin_max_bytes=4) as fly:
        machine, workload = await fly.started()
        for stdin, status in (("1234", 200), ("12345", 413)):
            body = {"command": ["cat"], "stdin": stdin}
            assert (await fly.call("POST", f"/machines/{machine}/exec", body)).status_code == status
        assert len(workload.executions) == 1


@pytest.mark.parametrize(
    "body", [{}, {"command": []}, {"command": "ls"}, {"command": [1]}, {"command": ["a"], "timeout": "5"}]
)
async def test_a_wrong_order_is_refused(tmp_path: Path, body: object) -> None:
    """400 for what is no argument vector or no number of seconds."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        assert (await fly.call("POST", f"/machines/{machine}/exec", body)).status_code == 400


async def test_the_way_it_runs_follows_the_settings(tmp_path: Path) -> None:
    """As nobody, and with as much output, as the settings say."""
    async with fly_inside(tmp_path, exec_as_root=False, exec_output_max_bytes=7) as fly:
        machine, workload = await fly.started()
        await fly.call("POST", f"/machines/{machine}/exec", {"command": ["id"]})
        [execution] = workload.executions
        assert (execution.as_root, execution.output_max_bytes) == (False, 7)
