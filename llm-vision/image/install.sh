#!/bin/sh
# Installs the packages pinned in requirements.lock and torch for a device, then removes what containers do not need.
# The Dockerfile calls it in the virtual environment of the image.
set -eu

device=$1
case $device in
cpu) index=https://download.pytorch.org/whl/cpu ;;
cuda) index=https://download.pytorch.org/whl/cu130 ;;
*)
  echo "DEVICE is cpu or cuda, not $device" >&2
  exit 1
  ;;
esac

image=$(cd "$(dirname "$0")" && pwd)
cd "$image/.."
locked() {
  pip install --quiet --no-compile --no-deps --no-build-isolation --require-hashes --requirement "$1"
}
# setuptools comes first, so that packages without a wheel are built with the locked one, not one pip fetches unhashed.
sed -n '/^setuptools==/,/[^\]$/p' requirements.lock >/tmp/setuptools.lock
locked /tmp/setuptools.lock
locked requirements.lock
pip install --quiet --no-compile --retries 1 --index-url "${TORCH_INDEX_URL:-$index}" \
  "$(sed -n 's/^ *"\(torch==.*\)",/\1/p' pyproject.toml)"
pip check
if [ "$device" = cuda ]; then
  python3 -c 'import sys, torch; sys.exit(torch.version.cuda is None and "this torch has no CUDA: is its index reached?")'
fi

cd "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
rm -rf torch/include torch/share torch/test
find torch/bin -mindepth 1 ! -name torch_shm_manager -delete
find . -type d -name tests -prune -exec rm -rf {} +
find bitsandbytes -name 'libbitsandbytes_*.so' ! -name '*_cpu.so' ! -name "*_$device*.so" -delete
python3 "$image/compile.py"
