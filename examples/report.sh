#!/usr/bin/env bash
# Questions to the history from a shell: examples/report.sh, anywhere in a repository that ve works on.
# Works with a daemon and without one; the caller does not notice which.
set -euo pipefail

ve history report

echo
echo "The slowest phases:"
ve history query "
    select chunk, phase, round(seconds, 1) as seconds from cycle_time order by seconds desc limit 5
" --csv

echo
echo "What the agents asked:"
ve history query "select chunk, text, answer from questions order by asked_at" --json
