# syntax=docker/dockerfile:1
# Bundles as an image, for the chart's bundles.source `image` (its init container copies them) or `imageVolume`.
#
#   docker build -f deploy/docker/bundles.Dockerfile -t registry.example.org/dyno-bundles:1 FOLDER-OF-BUNDLES
#
# busybox is there for `cp`; with imageVolume `FROM scratch` would do.
FROM busybox:1.37-musl
COPY --chmod=a+rX . /bundles/
USER 65532:65532
