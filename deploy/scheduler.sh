#!/bin/sh
# The schedule as one process: makes the store where it is missing, then calls the jobs of [jobs] at their times.
set -eu
factory store create
exec factory cron run
