#!/bin/sh
# The schedule as one process without root: makes the store where it is missing, then cron on the table of [jobs].
set -eu
mkdir -p "$FACTORY_HOME/data/${FACTORY_PROFILE:-live}"
factory store create
factory cron show --format crontab > /tmp/factory.vixie
exec mcron /tmp/factory.vixie
