# redlockd and redlockctl with the files that they need, and nothing else: no shell and no package manager.
#   docker build -t redlockd .
#   docker build --target dev -t redlockd:dev .         # with redis-server, for --dev
#   docker run --rm -p 127.0.0.1:50051:50051 redlockd:dev --dev --listen 0.0.0.0:50051 --insecure
# Nothing here depends on the processor. The build runs on the platform of the image, if necessary in an emulator.
FROM debian:trixie-slim AS build
WORKDIR /src
COPY deploy/packages deploy/packages
RUN bash -c '. deploy/packages && install_packages "${BUILD_PACKAGES[@]}" ca-certificates python3'
COPY CMakeLists.txt CMakePresets.json ./
COPY deploy/CMakeLists.txt deploy/VERSION deploy/
COPY proto proto
COPY server server
COPY client client
RUN cmake --preset release -D REDLOCK_TESTS=OFF \
 && cmake --build --preset release --target redlockd redlockctl \
 && strip -o /usr/bin/redlockd build/release/server/redlockd \
 && strip -o /usr/bin/redlockctl build/release/client/redlockctl

FROM build AS files
COPY LICENSE ./
COPY deploy/image deploy/image
# The time of every file, in seconds since 1970. Two builds from the same packages then make the same layer.
ARG SOURCE_DATE_EPOCH=0
RUN deploy/image/make-root /image redlockd redlockctl

# What --dev needs in addition.
FROM files AS dev-files
ARG SOURCE_DATE_EPOCH=0
RUN bash -c '. deploy/packages && install_packages "${RUN_PACKAGES[@]}"' \
 && deploy/image/make-root /dev-image redlockd redlockctl redis-server \
 && (cd /dev-image && find . -type f -exec cmp -s '{}' '/image/{}' ';' -delete)

FROM scratch AS image
# Set by deploy/set-version.
ARG VERSION=0.1.0
# The commit, for example REVISION=$(git rev-parse HEAD).
ARG REVISION=unknown
LABEL org.opencontainers.image.title="redlockd" \
      org.opencontainers.image.description="Lock service: Redlock over independent Redis nodes, served over gRPC" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="https://github.com/redlockd/redlockd" \
      org.opencontainers.image.licenses="MIT"
COPY --from=files /image /
ENV PATH=/usr/bin
USER 10001
# The daemon writes files only with --dev, which puts the sockets of its nodes under /tmp.
VOLUME ["/tmp"]
EXPOSE 50051 9475
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD ["redlockctl", "--timeout", "2s", "health"]
ENTRYPOINT ["redlockd"]

FROM image AS dev
COPY --from=dev-files /dev-image /

# Last, so that it is what `docker build` makes.
FROM image
