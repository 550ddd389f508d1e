#!/bin/bash
# bounded.sh SECONDS COMMAND...: runs the command, and ends it where it takes longer.
#
# A test run that hangs would otherwise say nothing at all until somebody stops it. This one says
# which processes were there and what each of their threads was waiting in, then fails with 124.
# One that crashes takes the summary with it: what fails without one, and what hangs, also says
# which tests had begun and not ended. One that fails says its failures once more at its end, where
# they are looked for: between the names of a thousand tests that passed nobody finds them.
set -u
limit=$1
shift
log=$(mktemp /tmp/weir-tests-XXXXXX)

setsid "$@" > >(exec tee "$log") 2>&1 &
child=$!
watch=
trap 'pkill -TERM -s "$child"; [ -z "$watch" ] || kill "$watch"; rm -f "$log"; exit 130' INT TERM

# Tests whose beginning was printed and whose end was not.
unfinished() {
  # What was printed last may be on its way into the file.
  sleep 0.2
  grep -q '^[^ ]* Test run with .* after' "$log" && return
  echo "error: tests that had begun and not ended:" >&2
  awk '
    /^[^ ]* Test .* started\.$/ && !/^[^ ]* Test case / && !/^[^ ]* Test run / {
      name = $0; sub(/^[^ ]* Test /, "", name); sub(/ started\.$/, "", name); open[name] = 1
    }
    /^[^ ]* Test .* (passed|failed) after / {
      name = $0; sub(/^[^ ]* Test /, "", name)
      sub(/( with [0-9]+ test cases?)? (passed|failed) after .*$/, "", name); delete open[name]
    }
    END { for (name in open) print "  " name }' "$log" >&2
}

# What failed, each with the lines that explain it.
failures() {
  sleep 0.2
  awk '/^✘ .* recorded an issue/ { shown = 1; print "  " $0; next }
    /^↳/ { if (shown) print "  " $0; next }
    { shown = 0 }' "$log" | head -n 60 | cut -c1-400 >&2
}

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
  touch "$log.late"
  report "$@"
  # `swift test` keeps what the tests print to itself until they end: end them first.
  pkill -TERM -s "$child" -f '\.xctest '
  for _ in {1..50}; do
    kill -0 "$child" 2>/dev/null || break
    sleep 0.1
  done
  unfinished
  pkill -KILL -s "$child"
) &
watch=$!

wait "$child"
status=$?
# The watch has said why, or is about to.
if [ -e "$log.late" ]; then
  wait $watch
  rm -f "$log" "$log.late"
  exit 124
fi
kill -TERM $watch 2>/dev/null
wait $watch 2>/dev/null
if [ $status -ne 0 ]; then
  unfinished
  echo "error: what failed:" >&2
  failures
fi
rm -f "$log"
exit $status
