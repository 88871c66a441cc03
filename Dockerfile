# One image for Dagster's services (webserver, daemon, code server): base, then the lock, then the code, so that a commit
# rebuilds one small layer. Classic builder: nothing here needs buildx. A model's own image is another one: mlauto builds it.
#   docker build -t mlauto .
#   docker run -v mlauto-state:/var/lib/mlauto -p 3000:3000 mlauto dagster-webserver -h 0.0.0.0 -w workspace.yaml
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm

# git: model repositories are read with it; libgomp1: scikit-learn's OpenMP. Both come in the distribution's own version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/mlauto mlauto

WORKDIR /opt/mlauto
COPY requirements.lock ./
# pip compiles bytecode as it installs; without it every start would take twice as long.
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: --no-deps -r requirements.lock

# Dagster finds the project by the pyproject.toml beside the package, so the package runs from here.
COPY pyproject.toml workspace.yaml dagster.yaml ./
COPY mlauto ./mlauto
RUN python -m compileall -q mlauto \
    && python -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), 'mlauto.pth').write_text('/opt/mlauto\n')" \
    && mkdir -p /var/lib/mlauto/home/dagster \
    && chown -R mlauto:mlauto /var/lib/mlauto

ENV MLAUTO_ROOT=/opt/mlauto \
    MLAUTO_HOME=/var/lib/mlauto/home \
    DAGSTER_HOME=/opt/mlauto \
    DAGSTER_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    OMP_NUM_THREADS=1 \
    GX_ANALYTICS_ENABLED=false \
    PYTHONUNBUFFERED=1
USER mlauto
VOLUME /var/lib/mlauto
EXPOSE 3000 4000
CMD ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", "mlauto.definitions"]
