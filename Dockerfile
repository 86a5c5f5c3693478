# redlockd and redlockctl on Debian 13 slim, with redis-server for --dev.
#   docker build -t redlockd .
#   docker run --rm -p 127.0.0.1:50051:50051 redlockd --dev --listen 0.0.0.0:50051 --insecure
FROM debian:trixie-slim AS build
WORKDIR /src
COPY deploy/packages deploy/packages
RUN bash -c '. deploy/packages && install_packages "${BUILD_PACKAGES[@]}"'
COPY CMakeLists.txt CMakePresets.json README.md LICENSE ./
COPY proto proto
COPY server server
COPY client client
COPY deploy deploy
RUN cmake --preset release -D REDLOCK_TESTS=OFF \
 && cmake --build --preset release --target redlockd redlockctl \
 && cmake --install build/release --strip --prefix /usr/local
# Lists exactly the packages of the libraries that the programs are linked to.
RUN ldd /usr/local/bin/redlockd /usr/local/bin/redlockctl \
  | awk '$3 ~ "^/" {print $3}' | sort -u | xargs -n1 readlink -f | sed 's,^/usr/lib,*/lib,; s,^/lib,*/lib,' \
  | xargs -n1 dpkg -S | cut -d: -f1 | sort -u >/packages

FROM debian:trixie-slim
# Set by deploy/set-version.
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="redlockd" \
      org.opencontainers.image.description="Lock service: Redlock over independent Redis nodes, served over gRPC" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /packages /packages
RUN apt-get -qq update \
 && apt-get -qq install -y --no-install-recommends $(cat /packages) redis-server ca-certificates >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/log/* /usr/share/doc /usr/share/man /usr/share/locale \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin redlockd \
 && install -d -o 10001 -g 0 /data
COPY --from=build /usr/local/bin/redlockd /usr/local/bin/redlockctl /usr/local/bin/
USER 10001
# The daemon writes files only with --dev, which puts the sockets of its nodes under /tmp. If the image
# runs as a node, redis-server writes to /data.
VOLUME ["/tmp", "/data"]
EXPOSE 50051 9475
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD ["redlockctl", "--timeout", "2s", "health"]
ENTRYPOINT ["redlockd"]
