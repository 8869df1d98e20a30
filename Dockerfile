# The action's own container, run by the Actions runner. The image that a machine boots is another one:
# src/flaude_guest/image/Dockerfile.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
COPY requirements/action.lock /tmp/action.lock
# A virtual environment without pip, filled from the lock and from nothing else.
RUN python3 -m venv --without-pip /opt/flaude \
 && python3 -m pip --python /opt/flaude/bin/python --disable-pip-version-check install \
      --no-cache-dir --no-deps --no-compile --only-binary :all: --require-hashes --requirement /tmp/action.lock
COPY docker/gather.py /tmp/gather.py
RUN /opt/flaude/bin/python -I /tmp/gather.py /ground
COPY src/flaude_action /tmp/src/flaude_action
COPY src/flaude_guest /tmp/src/flaude_guest
# The verbs for people stay out: they need packages that are not in the action's lock.
RUN rm -rf /tmp/src/flaude_action/__main__.py /tmp/src/flaude_action/local.py /tmp/src/flaude_action/rehears* \
 && packages=$(/opt/flaude/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
 && mkdir -p "/ours$packages" && cp -R /tmp/src/. "/ours$packages" \
 && python3 -m compileall -q -s /ours -p / --invalidation-mode unchecked-hash "/ours$packages"
COPY docker/flaude-main docker/flaude-post /ours/usr/local/bin/

FROM scratch
LABEL org.opencontainers.image.title="flaude-action" \
      org.opencontainers.image.description="The GitHub Action that runs Claude Code on a Fly.io Machine" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.url="https://github.com/OWNER/flaude-action" \
      org.opencontainers.image.source="https://github.com/OWNER/flaude-action" \
      org.opencontainers.image.licenses="MIT"
ENV LANG=C.UTF-8
COPY --from=build /ground /
COPY --from=build /ours /
# Nothing in here needs what is not in the lock, or what was left behind.
RUN ["/opt/flaude/bin/python", "-I", "-c", "import importlib, pkgutil, flaude_action as ours; \
     [importlib.import_module(each.name) for each in pkgutil.iter_modules(ours.__path__, 'flaude_action.')]"]
ENTRYPOINT ["/usr/local/bin/flaude-main"]
