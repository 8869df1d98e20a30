"""localfly.rate_limits: buckets per action and identifier."""

from localfly.rate_limits import RateLimits

MACHINE = "/v1/apps/a/machines/m1"


def passed(limits: RateLimits, count: int, method: str, path: str, now_s: float = 0.0) -> int:
    return sum(limits.take(method, path, now_s) for _ in range(count))


def test_actions_have_a_burst_of_three_and_reads_of_ten() -> None:
    """What Fly documents, for one moment in time."""
    limits = RateLimits()
    assert passed(limits, 20, "POST", f"{MACHINE}/exec") == 3
    assert passed(limits, 20, "GET", MACHINE) == 10
    assert passed(limits, 20, "POST", "/v1/apps/a/machines") == 3


def test_identifiers_and_actions_do_not_share_a_bucket() -> None:
    """Another machine, another verb, another method: another bucket."""
    limits = RateLimits()
    passed(limits, 20, "POST", f"{MACHINE}/stop")
    assert passed(limits, 1, "POST", f"{MACHINE}/start") == 1
    assert passed(limits, 1, "POST", "/v1/apps/a/machines/m2/stop") == 1
    assert passed(limits, 1, "DELETE", MACHINE) == 1


def test_buckets_fill_up_again() -> None:
    """One more request per second, five more reads, never more than the burst."""
    limits = RateLimits()
    passed(limits, 20, "POST", f"{MACHINE}/exec")
    passed(limits, 20, "GET", MACHINE)
    assert passed(limits, 20, "POST", f"{MACHINE}/exec", 1.0) == 1
    assert passed(limits, 20, "GET", MACHINE, 1.0) == 5
    assert passed(limits, 20, "POST", f"{MACHINE}/exec", 1000.0) == 3


def test_waits_and_apps_are_not_counted() -> None:
    """Only actions on machines have a documented limit here."""
    limits = RateLimits()
    assert passed(limits, 20, "GET", f"{MACHINE}/wait") == 20
    assert passed(limits, 20, "GET", "/v1/apps/a") == 20
