#!/usr/bin/env bash
# The part of check.sh that runs inside: every line of output is one promise that was kept.
set -u
cd /root
deb=$1
fail() { echo "FAILED: $*"; journalctl -u weir --no-pager -o cat -n 20; exit 1; }
kept() { echo "ok: $*"; }
show() { systemctl show weir -p "$1" --value; }
# 502 and 503 are answers too: the packaged configuration's backends are not there.
answers() { curl -s -o /dev/null -w '%{http_code}' "localhost:8080/" | grep -q '^[25]'; }
until_true() { for _ in $(seq 200); do "$@" && return 0; sleep 0.1; done; return 1; }
has_other_main() { [ "$(show MainPID)" != "$1" ] && [ "$(show MainPID)" != 0 ]; }

is_up() { [[ "$(systemctl is-system-running 2>/dev/null)" =~ running|degraded ]]; }

until_true is_up || fail "the system does not come up"
dpkg -i "$deb" >/dev/null || fail "install"
[ "$(systemctl is-active weir)" = active ] && answers || fail "it starts with its installation"
[[ "$(show StatusText)" == serving* ]] || fail "status: $(show StatusText)"
kept "installs, starts, and says: $(show StatusText)"

systemctl reload weir || fail "reload"
echo "colour blue" >>/etc/weir/proxy.conf
systemctl reload weir 2>/dev/null && fail "a faulty file was taken"
[ "$(systemctl is-active weir)" = active ] && answers || fail "after a faulty reload"
kept "systemctl reload works, and fails for a faulty file, which changes nothing"
dpkg -i "$deb" >/dev/null 2>&1 || fail "installing over it with a faulty file"
answers || fail "the old version does not go on"
sed -i '$d' /etc/weir/proxy.conf

before=$(show MainPID)
dpkg -i "$deb" >/dev/null || fail "installing over it"
until_true has_other_main "$before" && answers || fail "an upgrade of the package is no upgrade"
[ "$(show NRestarts)" = 0 ] || fail "it was restarted"
kept "a package upgrade hands over: process $before, then $(show MainPID), no restart"

before=$(show MainPID)
(for _ in $(seq 200); do curl -s -o /dev/null -w '%{http_code}\n' localhost:8080/; done) >codes &
sleep 0.3
systemctl kill -s KILL weir
wait $!
until_true has_other_main "$before" || fail "it was not started again"
[ "$(grep -c '^000' codes)" -le 1 ] || fail "connections refused: $(sort codes | uniq -c)"
kept "killed under load: $(sort codes | uniq -c | tr -s ' \n' ' ')(000: the one in flight)"

before=$(show MainPID)
kill -STOP "$before"
until_true has_other_main "$before" || fail "the watchdog did not see a process that hangs"
answers || fail "after the watchdog"
kept "the watchdog restarts a process that hangs"

systemctl stop weir || fail "stop"
sed -i 's/^ListenStream=.*/ListenStream=8080/' /lib/systemd/system/weir.socket
systemctl daemon-reload && systemctl start weir.socket
[ "$(show MainPID)" = 0 ] && answers || fail "socket activation"
[ "$(show MainPID)" != 0 ] || fail "nothing was started"
systemctl stop weir.socket weir
kept "a connection to weir.socket starts it"

systemd-analyze verify /lib/systemd/system/weir.service || fail "verify"
kept "$(systemd-analyze security weir --no-pager | tail -n 1)"
dpkg -P weir >/dev/null || fail "purge"
for path in /etc/weir /var/log/weir /usr/bin/weir /lib/systemd/system/weir.service; do
  [ ! -e "$path" ] || fail "$path stays behind"
done
kept "purged, nothing stays behind"
