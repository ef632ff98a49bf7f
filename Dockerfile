# One image for every role: `docker run vidbatch worker --roles submit`, `docker run vidbatch run …`.

FROM python:3.11-slim AS build
RUN python -m venv /opt/vidbatch
ENV PATH=/opt/vidbatch/bin:$PATH
WORKDIR /src
# The dependencies first: they change less often than the code, and this layer is the slow one.
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY workers workers
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
# A fixed id, so that a mounted folder can be given to it: chown 1000:1000 data
RUN useradd --uid 1000 --user-group --home-dir /var/lib/vidbatch --create-home vidbatch \
    && install -d -o vidbatch -g vidbatch /data
COPY --from=build /opt/vidbatch /opt/vidbatch
ENV PATH=/opt/vidbatch/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VIDBATCH_STATE=/var/lib/vidbatch/state
USER vidbatch
WORKDIR /data
# The workers leave tidily on SIGTERM: claimed rows are recorded first.
STOPSIGNAL SIGTERM
ENTRYPOINT ["vidbatch"]
CMD ["--help"]
