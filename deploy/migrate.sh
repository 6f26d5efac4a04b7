#!/bin/sh
# The official migrate.sh, in its place: takes the same flags and hands them over unchanged.
#
#   deploy/migrate.sh -i my-release -n milvus -s 2.1.4 -t 2.2.16 -r by-dev -w milvusdb/milvus:v2.2.16
#
# What differs: an unknown flag is an error, -d takes true or false (alone it means true) and never
# removes the backup, nothing is asked (the original never did), and without -r the root path is the one that Milvus is configured with.
set -eu
exec "${META_MIGRATION:-meta-migration}" upgrade --yes "$@"
