#!/bin/sh
# Runs a command with the modules of this directory before the application's own PYTHONPATH.
#
#     celeriac_start.sh COMMAND [ARGUMENT]...
#
# A unit can't: what its EnvironmentFile= says of PYTHONPATH would replace what it says itself.
set -u

export PYTHONPATH="${0%/*}${PYTHONPATH:+:$PYTHONPATH}"
exec "$@"
