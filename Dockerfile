# The image takes the place of milvusdb/meta-migration: the program lies at /milvus/bin/meta-migration,
# on the PATH, in an image with /bin/sh, and runs as any user.

FROM rust:1-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked && \
    install -D target/release/meta-migration /out/meta-migration

FROM alpine:3
RUN apk add --no-cache ca-certificates && \
    addgroup -g 1000 milvus && adduser -D -u 1000 -G milvus milvus && \
    mkdir -p /milvus/bin /milvus/data && chown -R 1000:1000 /milvus/data
COPY --from=build /out/meta-migration /milvus/bin/meta-migration
ENV PATH=/milvus/bin:$PATH
WORKDIR /milvus
# Not set here: migrate.sh and the operator mount volumes that only root may write to. Run it with
# --user 1000:1000, or a pod with runAsUser 1000 and fsGroup 1000, where that is not so.
CMD ["meta-migration", "--help"]
