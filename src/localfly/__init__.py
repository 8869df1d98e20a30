"""A stand-in for Fly on loopback: the Machines API and the logs host over real containers or processes.

    python -m localfly --backend docker --port 4280 --state DIR [--set name=value …]

answers `/v1/…` as https://api.machines.dev does, `/api/v1/apps/{app}/logs` as https://api.fly.io does, on
one port; point FLY_FLAPS_BASE_URL and FLY_API_BASE_URL at it. What nobody outside Fly knows is a setting
(`--help-settings`), what only a test may do is under `/_localfly/` (`control`).

Not here: volumes, secrets, certificates, IP assignments, suspend, services (accepted, but nothing listens),
several containers or processes in a machine, GraphQL. Asked for these it answers 404 or 400, never as if it
had them.

From the wire inwards: `serve` puts the parts together; `requests_seen`, `gate`, `faults` wrap every request;
`machines_api`, `running_api`, `exec_api`, `metadata_api`, `apps_api`, `logs_api`, `control` are the routes
over `bodies` and `wire`; `flyd` orders what happens to a machine, `machine_run` carries it out over a
`backend`; `store` and `log_store` keep it. `messages` and `githost` are stand-ins of their own: for the model
and for GitHub's git.
"""
