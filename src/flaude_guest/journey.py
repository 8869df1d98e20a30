"""The work of one job: checks, fetch, setup, agent, collect; between the steps nothing of the agent's
survives.

Every way it can go wrong ends in the same place, an `Outcome`. Waiting for the job and holding the result
are the supervisor's.
"""

from __future__ import annotations

import math
import time
import traceback
from typing import TYPE_CHECKING, Callable

from flaude_guest import changeset, checks, clock, memory, workspace
from flaude_guest.agent import Agent, base_environment, setup_command
from flaude_guest.archive import fetch_archive
from flaude_guest.comparison import CollectFailed
from flaude_guest.fetch import CloneFailed, Fetched, fetch
from flaude_guest.findings import Tail, find
from flaude_guest.git import CutShort, Git
from flaude_guest.judgement import judge
from flaude_guest.leftovers import Leftovers
from flaude_guest.outcome import Outcome
from flaude_guest.processes import NotStarted
from flaude_guest.stream import TEXT_LINE_MAX_BYTES, Lines, Transcript

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.job import Job
    from flaude_guest.output import Output
    from flaude_guest.places import Places
    from flaude_guest.processes import Processes
    from flaude_guest.record import Record

COLLECT_S = 120.0
COLLECT_AFTER_STOP_S = 1.8
"""Of the 2.5 s in which an interrupt must be answered."""

_CUT = {"timeout": "run_timeout", "cancelled": "cancelled", "terminated": "machine_stopped_externally"}


class Journey:
    """One job's way. `ends_at` is when, in seconds since boot, all work must end."""

    def __init__(
        self,
        job: Job,
        places: Places,
        processes: Processes,
        record: Record,
        output: Output,
        ends_at: float,
    ) -> None:
        self._job = job
        self._places = places
        self._processes = processes
        self._leftovers = Leftovers(places.agent)
        self._record = record
        self._output = output
        self._ends_at = min(ends_at, clock.since_boot() + job.limits.timeout_s)
        self._outcome = Outcome(secrecy=output.secrecy)
        self._main: Fetched | None = None
        self._cwd = places.work
        self._agent_began = math.inf

    def go(self, problem: checks.Problem | None) -> Outcome:
        """Do the work; never raises. `problem` is what the machine's own checks found."""
        outcome = self._outcome
        try:
            self._steps(problem)
        except CutShort as cut:
            outcome.fail(_CUT[str(cut)], self._record.phase)
        except CloneFailed as failed:
            type_ = "disk_full" if failed.type == "clone_failed" and self._disk_is_full() else failed.type
            outcome.fail(type_, "fetch", failed.details, failed.line)
        except Exception as error:
            self._bug(error)
        try:
            self._record.enter("collect")
            self._end_processes()
            self._leftovers.free_memory(self._places)
            self._collect()
        except Exception as error:
            self._bug(error)
        return outcome

    def _steps(self, problem: checks.Problem | None) -> None:
        self._record.enter("checks")
        reason = self._watch()
        if reason:
            raise CutShort(reason)  # it may have cut the checks short too
        if problem is not None:
            self._outcome.fail("environment_unusable", "checks", problem.details, problem.line)
            return
        self._record.enter("fetch")
        self._fetch()
        self._end_processes()
        if self._job.setup:
            self._record.enter("setup")
            if not self._setup():
                return
            self._end_processes()
        self._record.enter("agent")
        self._agent()

    def _watch(self) -> str:
        """Why the work must end now, if it must."""
        return self._record.stop or ("timeout" if clock.since_boot() >= self._ends_at else "")

    def _fetch(self) -> None:
        git = Git(self._processes, self._places, self._watch)
        for number, repository in enumerate(self._job.repositories):
            bare = self._places.state / "repositories" / ("%d.git" % number)
            if repository.archive is not None:
                fetched = fetch_archive(git, repository, repository.archive, bare)
            else:
                fetched = fetch(git, repository, bare, local_urls=not self._places.isolated)
            directory = workspace.check_out(git, self._places, fetched)
            self._output.say("checked out %s at %s" % (repository.directory, fetched.sha))
            if number == 0:
                self._main, self._cwd = fetched, directory
                self._outcome.base_sha = fetched.sha
                workspace.keep_index(directory, self._index)
        if not self._job.repositories:
            self._cwd = workspace.empty(git, self._places)

    @property
    def _index(self) -> Path:
        return self._places.state / "base.index"

    def _setup(self) -> bool:
        said = Tail()
        lines = Lines(lambda line, _: self._setup_line(line, said), TEXT_LINE_MAX_BYTES, whole=True)
        kills = memory.Kills()
        try:
            ended = self._processes.run(
                setup_command(self._job.setup),
                who=self._places.agent,
                cwd=self._cwd,
                env=base_environment(self._places, self._job),
                out=lines.feed,
                watch=self._watch,
            )
        except NotStarted as error:
            details = "It could not be started."
            self._outcome.fail("setup_command_failed", "setup", details, error.strerror or "")
            return False
        lines.finish()
        self._outcome.setup_ended(ended, kills.since())
        if ended.cut:
            raise CutShort(ended.cut)
        if not ended.ok:
            self._outcome.findings = find(said, self._cwd)
        return ended.ok

    def _setup_line(self, line: bytes, said: Tail) -> None:
        # A carriage return alone ends a line for the runner too, and what a progress bar overwrote was said.
        for text in line.rstrip(b"\r").split(b"\r"):
            said.add(self._output.pass_on(text.decode("utf-8", "replace")))

    def _agent(self) -> None:
        if not self._job.agent.project_settings:
            workspace.make_claude_config(self._places)
        kills, self._agent_began = memory.Kills(), time.time()
        transcript = Transcript(self._places.state / "transcript")
        try:
            agent = Agent(self._processes, self._places, self._job, self._output)
            run = agent.run(self._cwd, transcript, self._watch)
        except NotStarted as error:
            self._outcome.fail("agent_start_failed", "agent", line=error.strerror or "")
            return
        finally:
            transcript.close()
        killed = kills.since()
        options = self._job.agent
        judged = judge(
            run.said, run.ended, schema_given=options.wants_schema, oom_kills=killed, stderr=run.stderr
        )
        self._outcome.agent_ended(run, judged, options.session_id, killed)
        if transcript.cut or transcript.failed:
            self._output.say("the transcript is not complete")

    def _end_processes(self) -> None:
        left = self._leftovers.end_all()
        if left:
            self._output.say("%d processes could not be ended" % left)

    def _collect(self) -> None:
        full = self._disk_is_full()
        if full:
            left = "Less than %d MiB were left, or than %d files."
            self._outcome.warn("disk_full", left % (checks.FULL_BYTES // 2**20, checks.FULL_FILES))
        if self._main is None:
            return
        git = Git(self._processes, self._places, self._collect_watch())
        try:
            taken = changeset.take(git, self._places, self._main, self._cwd, self._index, self._agent_began)
            self._outcome.changeset_taken(taken)
            if taken.repositories_inside:
                told = "not part of the change: folders that had a repository of their own before, %d"
                self._output.say(told % taken.repositories_inside)
            for row in taken.left_out:
                self._output.say("left out of the change: %(path)s (%(why)s, %(size)d bytes)" % row)
        except CutShort:
            self._outcome.fail("collect_failed", "collect", "Taking the changeset took too long.")
        except CollectFailed as failed:
            self._outcome.fail("disk_full" if full else failed.type, "collect", str(failed), failed.line)
        finally:
            self._end_processes()

    def _disk_is_full(self) -> bool:
        return any(map(checks.is_full, (self._places.work, self._places.state)))

    def _collect_watch(self) -> Callable[[], str]:
        """Patience for the changeset: shorter from the moment that somebody waits for an interrupt."""
        give_up = time.monotonic() + COLLECT_S

        def watch() -> str:
            nonlocal give_up
            if self._record.stop:
                give_up = min(give_up, time.monotonic() + COLLECT_AFTER_STOP_S)
            return "collect" if time.monotonic() > give_up else ""

        return watch

    def _bug(self, error: Exception) -> None:
        """A bug of ours is a failure like any other: told in the log, typed in the result, and held.

        That there is no room for a file of ours is none.
        """
        for line in traceback.format_exc().splitlines():
            self._output.pass_on(line)
        type_ = "disk_full" if checks.no_room(error) else "internal_error"
        self._outcome.fail(type_, self._record.phase)
