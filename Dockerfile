# The four images, a target each: aggregator, generator-service, operator, agent.
#   docker build --target aggregator -t edgeloop-aggregator .
# `make images` builds all of them.
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm
# torch without CUDA by default; empty for what the package index has.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

FROM ${PYTHON_IMAGE} AS source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python3 -m venv /opt/edgeloop
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY tools/sbom.py tools/slim_site.py ./tools/
COPY edgeloop ./edgeloop
COPY cloud ./cloud
COPY edge ./edge
COPY simulations ./simulations

FROM source AS aggregator-build
ARG TORCH_INDEX
RUN /opt/edgeloop/bin/pip install --no-cache-dir --no-compile -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[cloud,otel]" \
 && /opt/edgeloop/bin/pip uninstall -y pip \
 && /opt/edgeloop/bin/python tools/sbom.py > /opt/edgeloop/sbom.cdx.json \
 && python3 tools/slim_site.py /opt/edgeloop \
 && /opt/edgeloop/bin/python -P -c "import cloud.aggregator.service, edgeloop.algorithms.fedktl, edgeloop.generators.onnx" \
 && python3 tools/slim_site.py --compiled /opt/edgeloop

FROM source AS generator-service-build
ARG TORCH_INDEX
RUN /opt/edgeloop/bin/pip install --no-cache-dir --no-compile -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[generator]" \
 && /opt/edgeloop/bin/pip uninstall -y pip \
 && /opt/edgeloop/bin/python tools/sbom.py > /opt/edgeloop/sbom.cdx.json \
 && python3 tools/slim_site.py /opt/edgeloop \
 && /opt/edgeloop/bin/python -P -c "import cloud.generator_service.command, edgeloop.generators.onnx, torch"

FROM source AS operator-build
RUN /opt/edgeloop/bin/pip install --no-cache-dir --no-compile -c constraints.txt ".[operator]" \
 && /opt/edgeloop/bin/pip uninstall -y pip \
 && /opt/edgeloop/bin/python tools/sbom.py > /opt/edgeloop/sbom.cdx.json \
 && python3 tools/slim_site.py /opt/edgeloop \
 && /opt/edgeloop/bin/python -P -c "import cloud.operator.command"

FROM source AS agent-build
ARG TORCH_INDEX
RUN /opt/edgeloop/bin/pip install --no-cache-dir --no-compile -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[edge,otel,privacy]" \
 && /opt/edgeloop/bin/pip uninstall -y pip \
 && /opt/edgeloop/bin/python tools/sbom.py > /opt/edgeloop/sbom.cdx.json \
 && python3 tools/slim_site.py /opt/edgeloop \
 && /opt/edgeloop/bin/python -P -c "import edge.agent.service, edgeloop.client, edgeloop.algorithms.fedktl, scipy.special"

# Each build leaves a bill of what it has installed, /opt/edgeloop/sbom.cdx.json, and takes out what nobody runs, bytecode too, but for
# what is imported as it starts: an image may not write it, and all of it would be 120 MB. In the aggregator's other
# people's modules that are compiled have no source beside the bytecode.

# What all images share: no build tools, no root, and nothing written but to volumes and to /tmp, so that the
# root file system may be read only.
FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/edgeloop/bin:$PATH \
    HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1
# A new volume takes its owner from the folder that it covers.
RUN install -d -o 10001 -g 10001 /var/lib/edgeloop /models /srv/authority /srv/broker /srv/aggregator /srv/tokens
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["edgeloop"]

# One federated task.
FROM runtime AS aggregator
LABEL org.opencontainers.image.title="edgeloop-aggregator" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=aggregator-build /opt/edgeloop /opt/edgeloop
CMD ["aggregator", "--help"]

# Writes and probes generators, and serves bases.
FROM runtime AS generator-service
LABEL org.opencontainers.image.title="edgeloop-generator-service" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=generator-service-build /opt/edgeloop /opt/edgeloop
CMD ["generator", "--help"]

# Runs FederatedTasks on Kubernetes.
FROM runtime AS operator
LABEL org.opencontainers.image.title="edgeloop-operator" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=operator-build /opt/edgeloop /opt/edgeloop
CMD ["operator", "--help"]

# One device: `edgeloop agent` and `edgeloop predict`.
FROM runtime AS agent
LABEL org.opencontainers.image.title="edgeloop-agent" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=agent-build /opt/edgeloop /opt/edgeloop
CMD ["agent", "--help"]
