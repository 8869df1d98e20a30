"""Which values of `env` prove, where they stand in a file, that a credential does."""

from __future__ import annotations

import time

import pytest

from flaude_action.env_credentials import credential_parts, is_credential
from flaude_action.env_input import looks_secret

# Put together here, so that no scanner takes this file for a leak.
GITHUB = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
AWS_ID = "AKIA" + "IOSFODNN7EXAMPLE"
AWS_KEY = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
SLACK = "https://hooks.slack" + ".com/services/T0/B0/xyzw4Kq9PzL2"
TOKEN = "eyJhbGciOiJSUzI1NiIs" + "InR5cCI6IkpXVCJ9.c2ln"
KUBECONFIG = f"""apiVersion: v1
clusters:
- cluster:
    server: https://10.0.0.1:6443
users:
- name: deployer
  user:
    token: {TOKEN}
"""

CREDENTIALS = {
    "letters": ("DEPLOY_PASSWORD", "CorrectHorseBatteryStaple"),
    "a phrase": ("DEPLOY_PASSWORD", "correct horse battery staple!"),
    "a phrase in one word": ("DEPLOY_PASSWORD", "correct-horse-battery-staple"),
    "32 letters": ("API_KEY", "qWzKfLmPxRtYvBnHsDgJcQaEuIoTkZwM"),
    "digits": ("API_KEY", "8273645192837465"),
    "lines": ("KUBE_CREDENTIALS", KUBECONFIG),
    "a webhook": ("SLACK_WEBHOOK_URL", SLACK),
    "a webhook, whatever its name": ("NOTIFY", SLACK),
    "a webhook by its name": ("TEAM_WEBHOOK", "https://chat.example.com/hooks/aB3dE5fG7hJ9kL1m"),
    "a signed URL": ("STORAGE_SAS_TOKEN", "https://x.blob.core.windows.net/?sig=ab%2Fcdef%3D"),
    "a signed URL, whatever its name": ("DOWNLOAD_FROM", "https://x.example/f?x=1&sig=abcdef12"),
    "GitHub's": ("GH_PAT", GITHUB),
    "GitHub's, whatever its name": ("MODEL", GITHUB),
    "AWS's identifier": ("AWS_SAK", AWS_ID),
    "AWS's key": ("AWS_SAK", AWS_KEY),
    "a connection": ("DB_CONN", "Server=db;Pwd=hunter2hunter2"),
    "a login": ("DATABASE_URL", "postgres://app:hunter2x@db.example.com/app"),
    "a login of plain letters elsewhere": ("DATABASE_URL", "postgres://app:postgres@db.example.com/app"),
    "a password": ("POSTGRES_PASSWORD", "postgres1"),
    "a password behind a name's end": ("PGPASSWORD", "hunter2hunter2"),
    "camel case": ("dbPassword", "hunter2hunter2"),
    "a second": ("API_KEY_2", "hunter2hunter2"),
    "hex": ("X", "c0ffee42" * 5),
    "a UUID as a key": ("HEROKU_API_KEY", "01234567-89ab-cdef-0123-456789abcdef"),
    "a Sentry DSN": ("SENTRY", "https://0123456789abcdef0123456789abcdef@o1.ingest.sentry.io/2"),
    "one of a list": ("TOKENS", "local,aB3dE5fG7hJ9kL1mN3pQ"),
    "a private key": ("DEPLOY", "-----BEGIN OPENSSH PRIVATE " + "KEY-----\nb3BlbnNzaC1rZXk\n"),
}
SETTINGS = {
    "a model": ("TOKENIZER_MODEL", "cl100k_base"),
    "hosts": ("PROXY_BYPASS", "127.0.0.1,localhost"),
    "a cache's key": ("CACHE_KEY", "deps-v1-linux"),
    "a long cache's key": ("CACHE_KEY", "deps-v1-linux-x64-node20-f3a9c1e07b2d"),
    "no PASS": ("COMPASS_VERSION", "1.2.3-beta4"),
    "no KEY": ("MONKEYPATCH_MODE", "strict-v2"),
    "no KEY either": ("TURKEY_REGION", "eu-west-1"),
    "no AUTH": ("AUTHORITY", "us-east-1"),
    "a layout": ("KEYBOARD_LAYOUT", "us-intl-2"),
    "a path": ("SSH_KEY_PATH", "/home/runner/.ssh/id_ed25519"),
    "a path under a credential's name": ("GOOGLE_APPLICATION_CREDENTIALS", "/secrets/gcp-4f2a.json"),
    "a file under a credential's name": ("GOOGLE_APPLICATION_CREDENTIALS", "gcp-credentials2.json"),
    "an image": ("KEYCLOAK_IMAGE", "quay.io/keycloak/keycloak:24.0.1"),
    "an image by its digest": ("BASE", "ghcr.io/acme/app@sha256:" + "0123456789abcdef" * 4),
    "an image of a commit": ("RUNS", "ghcr.io/acme/app:sha-4f2a9c01b7d3"),
    "a commit": ("GIT_SHA", "4f2a9c01b7d34f2a9c01b7d34f2a9c01b7d34f2a"),
    "a commit's digest": ("SOURCE_COMMIT", "4f2a9c01b7d34f2a9c01b7d34f2a9c01b7d34f2a"),
    "a UUID": ("AZURE_TENANT", "01234567-89ab-cdef-0123-456789abcdef"),
    "an identifier": ("AUTH0_CLIENT_ID", "aB3dE5fG7hJ9kL1mN3pQaB3dE5fG7hJ9"),
    "a word": ("PASSWORD", "postgres"),
    "a short number": ("MAX_TOKENS", "31999"),
    "a truth value": ("AUTH", "disabled"),
    "a URL": ("KEYCLOAK_URL", "http://localhost:8080"),
    "a URL under a credential's name": ("AUTH", "https://login.example.com/oauth2/v1"),
    "a token's URL": ("TOKEN_URL", "https://login.example.com/oauth2/v1/token"),
    "a login of every test": ("DATABASE_URL", "postgres://postgres:postgres@localhost:5432/test"),
    "a webhook of one's own": ("WEBHOOK_URL", "http://localhost:3000/webhooks/github"),
    "a region": ("AWS_REGION", "us-east-1"),
    "a version": ("PYTHON_VERSION", "3.11-slim"),
    "a model of long name": ("MODEL", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
    "a runner": ("RUNNER_LABEL", "ubuntu-22.04-4xlarge-x64-2026"),
    "a host": ("PGHOST", "ep-cool-1a2b3c4d5e6f.us-east-2.aws.neon.tech"),
    "an option": ("NODE_OPTIONS", "--max-old-space-size=4096"),
    "a role": ("ROLE", "arn:aws:iam::123456789012:role/deploy-4f2a9c01"),
    "an account": ("ACCOUNT", "bot-4f2a9c01b7d3@project-1.iam.gserviceaccount.com"),
    "a time": ("SINCE", "2026-11-28T20:33:40.123Z"),
    "lines": ("SCRIPT", "apiVersion: v1\nkind: Config\nserver: https://10.0.0.1\n"),
    "prose": ("GREETING", "Hello to all 25 of you, wherever 7 may be."),
}


@pytest.mark.parametrize(("name", "value"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_credentials(name: str, value: str) -> None:
    """What its own form gives away, or its name; and what is proof is hidden as well."""
    assert is_credential(name, value)
    assert looks_secret(name, value)


@pytest.mark.parametrize(("name", "value"), SETTINGS.values(), ids=SETTINGS)
def test_settings(name: str, value: str) -> None:
    """What stands in many a file by itself, or is told to everybody."""
    assert not is_credential(name, value)
    assert not credential_parts(value)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (KUBECONFIG, [TOKEN]),
        ("Server=db;Pwd=hunter2hunter2", ["hunter2hunter2"]),
        ('{"user": "jane", "api_key": "hunter2hunter2", "port": 5432}', ["hunter2hunter2"]),
        ("postgres://app:hunter2hunter2@db.example.com/app", ["hunter2hunter2"]),
        ("postgres://app:hunter2hunter2@localhost/app", ["hunter2hunter2"]),
        ("https://x.example/?sv=2024&sig=aB3dE5fG7h", ["aB3dE5fG7h"]),
        (f"Bearer {GITHUB}", [GITHUB]),
        ("machine x.example login me password hunter2hunter2", ["hunter2hunter2"]),
        ("The password protected page of 25.", []),
        ("hunter2hunter2", []),
        ("correct horse battery staple!", []),
    ],
)
def test_parts(value: str, parts: list[str]) -> None:
    """Of what has more than one word the agent may write down the credential alone."""
    assert credential_parts(value) == parts


@pytest.mark.parametrize(
    "unit",
    ["=", "a1-", "sk-", "eyJ-", "token=", "a:", "://", "a@", "1.", "a.", "/a", " x", "aA1,", "a: ", "sha1:",
     "1:", "-----BEGIN ", "_", "x:x@", "key\n"],
)  # fmt: skip
def test_a_long_value_is_looked_at_in_time(unit: str) -> None:
    """A value as long as `env` may be does not hold the step up."""
    value = unit * (60_000 // len(unit)) + "!"
    began = time.process_time()
    is_credential("API_TOKEN", value)
    credential_parts(value)
    assert time.process_time() - began < 5
