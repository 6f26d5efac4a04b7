# docker buildx bake              both images, for this machine's processor
# docker buildx bake release      both images, for all processors; needs a builder that can emulate or cross-compile

variable "TAG" {
  default = "meta-migration:0.1.0"
}

group "default" {
  targets = ["image", "drop-in"]
}

group "release" {
  targets = ["image-all", "drop-in-all"]
}

target "image" {
  tags = [TAG]
}

target "drop-in" {
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
