# fraudd as a container: binary, ONNX Runtime, both shipped models, configuration. See docs/deploy.md.
#
#   docker build -t fraudd .                          compiles inside
#   docker build -t fraudd --target outside .         takes .deps/image/{fraudd,libonnxruntime.so.1.28.0}, built outside
#
# The bases are arguments, pinned by tag; a registry of yours may pin them by digest:
#   --build-arg RUNTIME_IMAGE=debian:bookworm-slim@sha256:...
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

# What every image holds, whoever compiled the binary.
FROM ${RUNTIME_IMAGE} AS base
# A number, not a name: runAsNonRoot can check it, and nothing looks it up. The folder is the volume's
# content when it is new, so a new volume belongs to the service.
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/fraudd
COPY models/card-fraud /usr/share/fraudd/models/card-fraud
COPY config/rules.toml config/lists.toml config/policy.toml config/mapping.toml config/container.toml /etc/fraudd/
COPY LICENSE /usr/share/doc/fraudd/
# A small container wants its memory back at once and no huge pages, for a tenth more processor time: docs/deploy.md.
ENV ORT_DISABLE_TELEMETRY=1 MIMALLOC_PURGE_DELAY=0 MIMALLOC_ALLOW_THP=0
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fraudd" \
      org.opencontainers.image.description="Scores payment transactions for fraud and explains every decision" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /var/lib/fraudd
VOLUME /var/lib/fraudd
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["fraudd", "probe", "--config", "/etc/fraudd/container.toml"]
ENTRYPOINT ["fraudd"]
CMD ["serve", "--config", "/etc/fraudd/container.toml"]

FROM base AS outside
COPY .deps/image/libonnxruntime.so.1.28.0 /usr/local/lib/fraudd/
COPY .deps/image/fraudd /usr/local/bin/

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# pip fetches ONNX Runtime, cc compiles the allocator. An image that has them is left alone.
RUN command -v pip3 && command -v cc || { apt-get update && \
    apt-get install -y --no-install-recommends gcc libc6-dev python3-pip && rm -rf /var/lib/apt/lists/*; }
COPY scripts/fetch-onnxruntime scripts/
RUN scripts/fetch-onnxruntime /build/onnxruntime
COPY Cargo.toml Cargo.lock ./
COPY config config
COPY models/schemas models/schemas
COPY benches benches
COPY loadtest loadtest
COPY src src
RUN cargo build --release --locked --bin fraudd

FROM base AS image
COPY --from=build /build/onnxruntime/libonnxruntime.so.1.28.0 /build/onnxruntime/LICENSE \
    /build/onnxruntime/ThirdPartyNotices.txt /usr/local/lib/fraudd/
COPY --from=build /build/target/release/fraudd /usr/local/bin/
