#!/bin/sh
# A replacement for the official migrate.sh with the same flags.
#
#   deploy/migrate.sh -i my-release -n milvus -s 2.1.4 -t 2.2.16 -r by-dev -w milvusdb/milvus:v2.2.16
#
# Differences: an unknown flag is an error; -d takes true or false (alone it means true) and never
# removes the backup; without -r the root path is that in Milvus' configuration. Like the original
# it does not prompt.
set -eu
exec "${META_MIGRATION:-meta-migration}" upgrade --yes "$@"
