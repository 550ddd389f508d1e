#!/bin/bash
# bounded.sh SECONDS COMMAND...: runs the command, and ends it where it takes longer.
#
# A test run that hangs would otherwise say nothing at all until somebody stops it. This one says
# which processes were there and what each of their threads was waiting in, then fails with 124.
set -u
limit=$1
shift

setsid "$@" &
child=$!
trap 'pkill -TERM -s "$child"; exit 130' INT TERM

# Of every process in the command's session: its state, its parent, what its threads wait in.
report() {
  local pid thread
  echo "error: still running after $limit s: $*" >&2
  for pid in $(ps -s "$child" -o pid=); do
    echo "--- $pid: $(ps -o stat=,ppid=,etime=,args= -p "$pid" | cut -c1-160)" >&2
    for thread in /proc/"$pid"/task/*; do
      echo "    $(cat "$thread/comm" 2>/dev/null): $(cat "$thread/wchan" 2>/dev/null)" \
        "$(cut -d' ' -f1-4 "$thread/syscall" 2>/dev/null)" >&2
    done
  done
}

(
  sleep "$limit" &
  trap 'kill $!' TERM
  wait $! || exit
  report "$@"
  pkill -KILL -s "$child"
) &
watch=$!

wait "$child"
status=$?
# Killed by the watch, which has said why.
if [ $status -eq 137 ] && ! kill -0 $watch 2>/dev/null; then exit 124; fi
kill -TERM $watch 2>/dev/null
wait $watch 2>/dev/null
exit $status
