#!/bin/sh
# Stops the main process of a unit, MAINPID as systemd gives it to ExecStop=.
#
#     celeriac_stop.sh [SIGNAL SECONDS]...
#
# Sends each signal and waits for the end of the process, at most the seconds behind it; then sends SIGKILL. One that is
# gone needs no stop. Nothing of the application is needed: its release may be broken. docs/decisions/0014 says more.
set -u

[ "${MAINPID:-}" ] || exit 0
while [ $# -ge 2 ]; do
  kill -"$1" "$MAINPID" || exit 0
  timeout "$2" tail --pid="$MAINPID" --sleep-interval=0.1 --follow /dev/null && exit 0
  shift 2
done
kill -KILL "$MAINPID" || exit 0
