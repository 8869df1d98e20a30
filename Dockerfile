# The action's own container, run by the Actions runner. The image that a machine boots is another one:
# src/flaude_guest/image/Dockerfile.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
COPY requirements/action.lock /tmp/action.lock
# A virtual environment without pip, filled from the lock and from nothing else.
RUN python3 -m venv --without-pip /opt/flaude \
 && python3 -m pip --python /opt/flaude/bin/python --disable-pip-version-check install \
      --no-cache-dir --no-deps --only-binary :all: --require-hashes --requirement /tmp/action.lock
COPY src/flaude_action /tmp/src/flaude_action
COPY src/flaude_guest/__init__.py src/flaude_guest/protocol.py /tmp/src/flaude_guest/
# The verbs for people stay out: they need packages that are not in the action's lock. Hash-based bytecode needs no
# look at the sources' time stamps, which COPY would have to preserve.
RUN rm -rf /tmp/src/flaude_action/__main__.py /tmp/src/flaude_action/local.py /tmp/src/flaude_action/rehears* \
 && cp -R /tmp/src/. "$(/opt/flaude/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && /opt/flaude/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/flaude/lib

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.source="https://github.com/OWNER/flaude-action" \
      org.opencontainers.image.licenses="MIT"
# Nothing is installed in a running action. In python:slim pip lies in /usr/local, in Debian in /usr.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
      /usr/bin/pip* /usr/lib/python3/dist-packages/pip*
COPY --from=build /opt/flaude /opt/flaude
COPY docker/flaude-main docker/flaude-post /usr/local/bin/
# python:slim ships its standard library without bytecode: importing everything once keeps that of the modules we
# use, and shows that nothing in here needs what is not in the lock.
RUN /opt/flaude/bin/python -I -c 'import importlib, pkgutil, flaude_action as ours; \
      [importlib.import_module(each.name) for each in pkgutil.iter_modules(ours.__path__, "flaude_action.")]'
ENTRYPOINT ["/usr/local/bin/flaude-main"]
