# The image with the program at /milvus/bin/meta-migration, as in milvusdb/meta-migration.
#
#   docker build -t meta-migration:0.1.0 .                      the program only, as user 1000
#   docker build -t meta-migration:0.1.0-drop-in --target drop-in .
#                                                               with /bin/sh, as root: for the official migrate.sh,
#                                                               which starts /bin/sh -c, and the Milvus Operator; the
#                                                               volumes that they mount may be writable for root only
#
# docker-bake.hcl builds both for several processors. `make release` writes a context in which the first stage is replaced
# by the finished program.

FROM rust:1-alpine AS build
# hadolint ignore=DL3018
RUN apk add --no-cache ca-certificates-bundle musl-dev
WORKDIR /source
COPY . .
# The commit that `meta-migration version` shows: --build-arg COMMIT=$(git rev-parse --short=12 HEAD)
ARG COMMIT=
ENV META_MIGRATION_COMMIT=$COMMIT
# Builds for several processors run at the same time: each has its own target folder, because the finished programs have
# the same path, and the registry is locked, because Cargo's own lock is outside of it.
ARG TARGETPLATFORM
# Alpine's Rust links musl statically.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,id=meta-migration-$TARGETPLATFORM,sharing=locked \
    cargo build --release --locked && \
    install -D target/release/meta-migration /out/meta-migration && \
    install -D /etc/ssl/certs/ca-certificates.crt /out/ca-certificates.crt && \
    mkdir /out/empty

# The files of both images.
FROM scratch AS files
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/meta-migration /milvus/bin/meta-migration
# Volumes that are created here belong to the user of the image.
COPY --from=build --chown=1000:1000 /out/empty /milvus/data
COPY --from=build --chown=1000:1000 /out/empty /backups
# Large backups of other tools are sorted in temporary files. There is no /tmp, and callers mount a volume at /milvus/data.
ENV PATH=/milvus/bin:/bin TMPDIR=/milvus/data
WORKDIR /milvus
CMD ["meta-migration", "--help"]
LABEL org.opencontainers.image.title="meta-migration" \
      org.opencontainers.image.description="Migrates Milvus 2.1 metadata in etcd to the layout of 2.2 and later, and back" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"

FROM files AS drop-in
COPY --from=busybox:1-musl /bin/busybox /bin/sh
# hadolint ignore=DL3002
USER 0:0

FROM files AS default
USER 1000:1000
