# Every image of ours, in layers by how often they change: base, dependencies, code; mlauto adds a model as the last one.
#   docker build --target serving .            a compiled model's server: docker run IMAGE --bundle /model --port 8080
#   docker build --target serving-sklearn .    the same with scikit-learn, for models that cannot be compiled
#   docker build --target workshop .           where a commit is tested, and its model trained
#   docker build --target orchestrator .       Dagster's code location, daemon, webserver and run worker
# BASE is any image with Debian's or Docker's Python 3.11 or newer; ops/base_image.sh makes one without a registry. Wheels
# that lie in ./wheels are installed without a network (mlauto puts them there); else pip fetches them from its index.
# Nothing here needs buildx. mlauto gives the images that it built already as SERVING, SKLEARN and WORKSHOP, and as OWNER
# the state directory that will clear away what the builder leaves.
ARG BASE=python:3.11-slim
ARG SERVING=dependencies-serving
ARG SKLEARN=dependencies-sklearn
ARG WORKSHOP=dependencies-workshop

FROM ${BASE} AS pip
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv && python3 -m venv --without-pip /opt/workshop

FROM pip AS installed-serving
ARG OWNER
LABEL mlauto.owner=mlauto mlauto.kind=stage mlauto.home=${OWNER}
COPY ops/image/install.py requirements-serving.lock wheel[s] /build/
RUN /opt/pip/bin/python /build/install.py /build/requirements-serving.lock /opt/venv

FROM ${BASE} AS dependencies-serving
COPY --from=installed-serving /usr/share/mlauto /usr/share/mlauto
COPY --from=installed-serving /opt/venv /opt/venv
# OMP_NUM_THREADS: threads that wait for one another cost more than they bring at one row.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM ${SERVING} AS serving
COPY mlauto/__init__.py /opt/mlauto/mlauto/__init__.py
COPY mlauto/serving /opt/mlauto/mlauto/serving
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/mlauto
USER 10001:10001
ENTRYPOINT ["python", "-P", "-m", "mlauto.serving.server"]

FROM pip AS installed-sklearn
ARG OWNER
LABEL mlauto.owner=mlauto mlauto.kind=stage mlauto.home=${OWNER}
COPY ops/image/install.py requirements-sklearn.lock wheel[s] /build/
RUN /opt/pip/bin/python /build/install.py /build/requirements-sklearn.lock /opt/venv

FROM ${BASE} AS dependencies-sklearn
COPY --from=installed-sklearn /usr/share/mlauto /usr/share/mlauto
COPY --from=installed-sklearn /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM ${SKLEARN} AS serving-sklearn
COPY mlauto/__init__.py /opt/mlauto/mlauto/__init__.py
COPY mlauto/serving /opt/mlauto/mlauto/serving
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/mlauto
USER 10001:10001
ENTRYPOINT ["python", "-P", "-m", "mlauto.serving.server"]

# On top of what serves: whatever is tested and trained here meets the very files that it meets there.
FROM ${SKLEARN} AS installed-workshop
ARG OWNER
LABEL mlauto.owner=mlauto mlauto.kind=stage mlauto.home=${OWNER}
COPY --from=pip /opt/pip /opt/pip
COPY --from=pip /opt/workshop /opt/workshop
COPY ops/image/install.py requirements-workshop.lock wheel[s] /build/
RUN /opt/pip/bin/python /build/install.py /build/requirements-workshop.lock /opt/workshop --beside /opt/venv

FROM ${SKLEARN} AS dependencies-workshop
COPY --from=installed-workshop /usr/share/mlauto /usr/share/mlauto
COPY --from=installed-workshop /opt/workshop /opt/workshop
ENV PATH=/opt/workshop/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin

FROM ${WORKSHOP} AS workshop
COPY mlauto /opt/mlauto/mlauto
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/mlauto
USER 10001:10001
CMD ["python"]

# git reads the model repositories; it comes in the distribution's own version.
FROM ${BASE} AS tools
# hadolint ignore=DL3008
RUN command -v git >/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends git && apt-get clean && rm -rf /var/lib/apt/lists/*; }

# The C walker of trees, made in the very base that loads it: where it is brought along, no compiler is needed.
FROM ${BASE} AS walker
# hadolint ignore=DL3008
RUN command -v cc >/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && apt-get clean && rm -rf /var/lib/apt/lists/*; }
ARG OWNER
LABEL mlauto.owner=mlauto mlauto.kind=stage mlauto.home=${OWNER}
COPY mlauto/serving/plan/walker_file.py mlauto/serving/plan/walker.c /build/
RUN python3 /build/walker_file.py /opt/walker

FROM tools AS installed-orchestrator
ARG OWNER
LABEL mlauto.owner=mlauto mlauto.kind=stage mlauto.home=${OWNER}
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
COPY ops/image/install.py requirements.lock wheel[s] /build/
RUN /opt/pip/bin/python /build/install.py /build/requirements.lock /opt/venv

# Dagster finds the project by the pyproject.toml beside the package, so the package runs from /opt/mlauto; the images that
# it has built are made from the Dockerfile and the locks there.
FROM tools AS orchestrator
COPY --from=installed-orchestrator /usr/share/mlauto /usr/share/mlauto
COPY --from=installed-orchestrator /opt/venv /opt/venv
COPY --from=walker /opt/walker /opt/venv/share/mlauto
WORKDIR /opt/mlauto
COPY pyproject.toml workspace.yaml dagster.yaml Dockerfile requirements*.lock ./
COPY ops/image ./ops/image
COPY mlauto ./mlauto
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    MLAUTO_ROOT=/opt/mlauto \
    MLAUTO_HOME=/var/lib/mlauto/home \
    DAGSTER_HOME=/opt/mlauto \
    DAGSTER_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    OMP_NUM_THREADS=1 \
    GX_ANALYTICS_ENABLED=false \
    PYTHONUNBUFFERED=1
RUN python3 -m compileall -q --invalidation-mode unchecked-hash mlauto \
    && printf '#!/bin/sh\nexec /opt/venv/bin/python -P -c "import sys; from mlauto.cli import main; sys.exit(main())" "$@"\n' >/opt/venv/bin/mlauto \
    && chmod 755 /opt/venv/bin/mlauto \
    && useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/mlauto mlauto \
    && mkdir -p /var/lib/mlauto/home/dagster \
    && chown -R mlauto:mlauto /var/lib/mlauto
USER mlauto
VOLUME /var/lib/mlauto
EXPOSE 3000 4000
CMD ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", "mlauto.definitions"]
