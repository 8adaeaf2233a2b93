#!/usr/bin/env bash
# chatlite on a bare Debian host as a good guide would have it typed: Redis with a password and an append-only file, a
# virtualenv of the lock, four nodes and beat under systemd. It is what site.yml does, in the essentials.
#
#   first_run.sh DIRECTORY      with chatlite, uv.txt (the lock of uv itself) and lib.sh (tools/lib.sh)
set -euo pipefail
given=$1
password=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
umask 022

DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends \
    redis-server python3-venv logrotate >/dev/null

cat >>/etc/redis/redis.conf <<EOF
requirepass $password
appendonly yes
maxmemory 256mb
maxmemory-policy noeviction
EOF
systemctl restart redis-server

useradd --system --home-dir /opt/chatlite --shell /usr/sbin/nologin chatlite
install -d /opt/chatlite
install -d -o chatlite -g chatlite -m 0750 /var/log/chatlite /var/lib/chatlite
cp -r "$given/chatlite" /opt/chatlite/current

python3 -m venv /opt/uv
/opt/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement "$given/uv.txt"
. "$given/lib.sh"
uv_environment /opt/uv/bin/python
/opt/uv/bin/uv venv --quiet --python /usr/bin/python3 /opt/chatlite/current/.venv
/opt/uv/bin/uv pip install --quiet --python /opt/chatlite/current/.venv/bin/python --compile-bytecode --require-hashes \
    --requirement /opt/chatlite/current/requirements.txt

install -d -g chatlite -m 0750 /etc/chatlite
cat >/etc/chatlite/chatlite.env <<EOF
CELERY_BROKER_URL="redis://:$password@127.0.0.1:6379/0"
CELERY_RESULT_BACKEND="redis://:$password@127.0.0.1:6379/0"
CELERY_GLOBAL_KEYPREFIX="chatlite:"
CELERY_VISIBILITY_TIMEOUT="3600"
EOF
chown root:chatlite /etc/chatlite/chatlite.env
chmod 0640 /etc/chatlite/chatlite.env

cat >/etc/systemd/system/chatlite-worker@.service <<'EOF'
[Unit]
Description=Celery node %i of chatlite
After=network-online.target redis-server.service

[Service]
Type=forking
PIDFile=/run/chatlite-%i/%i.pid
User=chatlite
Group=chatlite
WorkingDirectory=/opt/chatlite/current
EnvironmentFile=/etc/chatlite/chatlite.env
EnvironmentFile=/etc/chatlite/node-%i.env
RuntimeDirectory=chatlite-%i
ExecStart=/opt/chatlite/current/.venv/bin/celery multi start %i --app=app.core.celery_config \
  --pidfile=/run/chatlite-%i/%%n.pid --logfile=/var/log/chatlite/%%n%%I.log --loglevel=info $NODE_OPTIONS
ExecStop=/opt/chatlite/current/.venv/bin/celery multi stopwait %i --pidfile=/run/chatlite-%i/%%n.pid
KillMode=mixed
Restart=always

[Install]
WantedBy=multi-user.target
EOF
cat >/etc/systemd/system/chatlite-beat.service <<'EOF'
[Unit]
Description=Celery beat of chatlite
After=network-online.target redis-server.service

[Service]
User=chatlite
Group=chatlite
WorkingDirectory=/opt/chatlite/current
EnvironmentFile=/etc/chatlite/chatlite.env
ExecStart=/opt/chatlite/current/.venv/bin/celery --app=app.core.celery_config beat \
  --schedule=/var/lib/chatlite/beat-schedule --logfile=/var/log/chatlite/beat.log --pidfile=
Restart=always

[Install]
WantedBy=multi-user.target
EOF
node() { printf 'NODE_OPTIONS=%s\n' "--queues=$2 --concurrency=$3" >"/etc/chatlite/node-$1.env"; }
node crawler crawl_queue 4
node processor process_queue 2
node scheduler schedule_queue,default 1
node monitor monitor_queue 1

cat >/etc/logrotate.d/chatlite <<'EOF'
/var/log/chatlite/*.log {
    su chatlite chatlite
    daily
    rotate 14
    missingok
    notifempty
    compress
    delaycompress
    nocreate
}
EOF

systemctl daemon-reload
systemctl --quiet enable --now chatlite-worker@{crawler,processor,scheduler,monitor}.service chatlite-beat.service
