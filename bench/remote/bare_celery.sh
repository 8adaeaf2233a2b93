#!/usr/bin/env bash
# Redis as Debian ships it, and a bare celery worker of the figures' application.
#
#   bare_celery.sh DIRECTORY CONCURRENCY      with app, requirements.txt, uv.txt (uv's lock) and lib.sh (tools/lib.sh)
set -euo pipefail
given=$1
concurrency=$2
umask 022

DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends redis-server python3-venv >/dev/null
useradd --system --home-dir /opt/bench --shell /usr/sbin/nologin bench
cp -r "$given/app" /opt/bench

python3 -m venv /opt/uv
/opt/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement "$given/uv.txt"
. "$given/lib.sh"
uv_environment /opt/uv/bin/python
/opt/uv/bin/uv venv --quiet --python /usr/bin/python3 /opt/bench/.venv
/opt/uv/bin/uv pip install --quiet --python /opt/bench/.venv/bin/python --compile-bytecode --require-hashes \
    --requirement "$given/requirements.txt"

cat >/opt/bench/env <<'EOF'
export CELERY_BROKER_URL=redis://127.0.0.1:6379/0 CELERY_RESULT_BACKEND=redis://127.0.0.1:6379/0
EOF
. /opt/bench/env
cd /opt/bench
systemd-run --quiet --unit=bare-celery --uid=bench --working-directory=/opt/bench \
    --setenv=CELERY_BROKER_URL --setenv=CELERY_RESULT_BACKEND --setenv=PYTHONDONTWRITEBYTECODE=1 -- \
    .venv/bin/celery --app=bench_app worker --queues=celery --concurrency="$concurrency" --loglevel=info
