# docker buildx bake -f docker-bake.hcl                         both images, for this machine's processor
# TAG=registry.example.com/meta-migration:0.1.0 \
#   docker buildx bake -f docker-bake.hcl --push release        both images, for amd64 and arm64, to a registry
#
# Without -f, bake also reads docker-compose.yml. Each image is compiled on its own processor: the builder needs a node
# for each platform, or QEMU (docker run --privileged --rm tonistiigi/binfmt --install all), which takes much longer.

variable "TAG" {
  default = "meta-migration:0.1.0"
}

# The commit that `meta-migration version` shows: COMMIT=$(git rev-parse --short=12 HEAD)
variable "COMMIT" {
  default = ""
}

group "default" {
  targets = ["image", "drop-in"]
}

group "release" {
  targets = ["image-all", "drop-in-all"]
}

target "image" {
  args = { COMMIT = COMMIT }
  tags = [TAG]
}

target "drop-in" {
  args   = { COMMIT = COMMIT }
  target = "drop-in"
  tags   = ["${TAG}-drop-in"]
}

target "all" {
  platforms = ["linux/amd64", "linux/arm64"]
}

target "image-all" {
  inherits = ["image", "all"]
}

target "drop-in-all" {
  inherits = ["drop-in", "all"]
}
