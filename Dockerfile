# One image for all processes: API, controller, migrations, Ray head and workers, MLflow. The same Python and the same Ray
# everywhere, because Ray refuses to join two that differ.
#
#   docker build --build-arg PACKAGE_INDEX=URL --tag warmup-bench:0.1.0-cpu .
#
# ACCELERATOR          cpu, or cuda: which of the two lock files is installed
# PACKAGE_INDEX        the package index to install from; it has no default
# EXTRA_PACKAGE_INDEX  a second one, where torch's CPU build lies elsewhere; the hashes hold for both
# PYTHON_IMAGE         the base; name@sha256:... pins its bytes, too

ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder

ARG ACCELERATOR=cpu
ARG PACKAGE_INDEX
ARG EXTRA_PACKAGE_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

RUN python -m venv --without-pip /opt/warmup-bench

WORKDIR /build
COPY requirements-cpu.lock requirements-cuda.lock ./
RUN if [ -z "${PACKAGE_INDEX}" ]; then \
        echo "no package index is named: --build-arg PACKAGE_INDEX=URL (docker compose: PACKAGE_INDEX=URL)" >&2; exit 1; \
    fi \
    && pip --python /opt/warmup-bench/bin/python install --no-deps --require-hashes --only-binary=:all: \
        --index-url "${PACKAGE_INDEX}" ${EXTRA_PACKAGE_INDEX:+--extra-index-url "${EXTRA_PACKAGE_INDEX}"} \
        --requirement "requirements-${ACCELERATOR}.lock"

# After the packages: a change of the code does not install them again. No index is asked: setuptools is in the lock.
COPY pyproject.toml README.md LICENSE warmup_bench.py ./
COPY schemas ./schemas
COPY service ./service
COPY workers ./workers
RUN pip --python /opt/warmup-bench/bin/python install --no-deps --no-build-isolation --no-index .

FROM ${PYTHON_IMAGE} AS runtime

# wget for health checks (KubeRay's too). Debian drops old versions from its archive: a pinned one cannot be built again.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 warmup-bench \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/warmup-bench --shell /usr/sbin/nologin warmup-bench \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/warmup-bench \
    && install --directory --mode 0755 /data \
    # a login shell, as some versions of KubeRay start Ray in, sets PATH anew
    && echo "export PATH=/opt/warmup-bench/bin:\$PATH" > /etc/profile.d/warmup-bench.sh

COPY --from=builder /opt/warmup-bench /opt/warmup-bench

# The root file system is mounted read-only: what is written goes to the home and to /tmp, both mounted.
ENV PATH=/opt/warmup-bench/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin \
    HOME=/var/lib/warmup-bench \
    WARMUP_BENCH_HOME=/var/lib/warmup-bench \
    WARMUP_BENCH_DATA=/data \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    MLFLOW_DISABLE_TELEMETRY=true

USER 10001:10001
WORKDIR /var/lib/warmup-bench
CMD ["warmup-bench", "--help"]
