#!/usr/bin/env bash
# The base image for machines that cannot pull one: Debian's Python, made from Debian's own packages.
#   ops/base_image.sh [TAG]        default: mlauto-base:bookworm; needs mmdebstrap and a Docker engine, and root
# An image of that tag that is there already is kept.
set -euo pipefail

tag=${1:-mlauto-base:bookworm}
if docker image inspect "$tag" >/dev/null 2>&1; then
    echo "$tag is there"
    exit 0
fi
for program in mmdebstrap docker; do
    command -v "$program" >/dev/null || { echo "base_image.sh: no $program on PATH: apt-get install mmdebstrap docker.io" >&2; exit 1; }
done
archive=$(mktemp --suffix=.tar)
trap 'rm -f "$archive"' EXIT
echo "$tag: from Debian's packages (half a minute)"
mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$archive"
docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' --change 'CMD ["python3"]' "$archive" "$tag" >/dev/null
echo "$tag: $(docker image inspect --format '{{.Id}}' "$tag")"
