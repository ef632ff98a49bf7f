# One image for every service: `docker run vidbatch worker --roles submit`, `docker run vidbatch run …`.

ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
RUN python -m venv /opt/vidbatch
ENV PATH=/opt/vidbatch/bin:$PATH
WORKDIR /src
# The dependencies first: they change less often than the code, and this layer is the slow one.
COPY requirements-fleet.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements-fleet.lock
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY workers workers
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${PYTHON}
LABEL org.opencontainers.image.title="vidbatch" \
      org.opencontainers.image.description="Annotate a video library through an async LLM API: every row paid for once" \
      org.opencontainers.image.licenses="MIT"
# A fixed id, so that a mounted folder can be given to it: chown 1000:1000 data
RUN useradd --uid 1000 --user-group --home-dir /var/lib/vidbatch --create-home vidbatch \
    && install -d -o vidbatch -g vidbatch /data \
    && install -d -m 1777 /scratch
COPY --from=build /opt/vidbatch /opt/vidbatch
ENV PATH=/opt/vidbatch/bin:$PATH \
    HOME=/var/lib/vidbatch \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VIDBATCH_STATE=/var/lib/vidbatch/state \
    VIDBATCH_HEALTH_FILE=/tmp/vidbatch-alive
USER vidbatch
WORKDIR /data
# The workers leave tidily on SIGTERM: claimed rows are recorded first.
STOPSIGNAL SIGTERM
# Of a worker: whether Redis took its registration within the last seconds. Other services have a check of their own.
HEALTHCHECK --interval=15s --timeout=5s --retries=3 --start-period=30s CMD ["python", "-m", "workers.health"]
ENTRYPOINT ["vidbatch"]
CMD ["--help"]
