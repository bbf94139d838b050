# syntax=docker/dockerfile:1
# One image for the api, the workers, the scheduler, the exporter and the migrations: compose says which of them it is.

FROM python:3.11-slim-bookworm AS packages
COPY requirements/runtime.lock /tmp/runtime.lock
# Wheels only, each by its hash: nothing is compiled, and no package's own code runs while the image is built.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r /tmp/runtime.lock

FROM python:3.11-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY processor/ processor/
COPY migrations/ migrations/
COPY workers/ workers/
COPY scheduler/ scheduler/
COPY api_min/ api_min/
COPY exporter/ exporter/
COPY cli/ cli/
# The root file system is read-only when it runs, so the bytecode is written now.
RUN python -m compileall -q /app
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
