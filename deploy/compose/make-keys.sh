#!/bin/sh
# Makes the keys of the brokers, and one for each kind of peer, unless they are there already. It runs
# as root in a container of its own, because fresh volumes are root's; what it makes is the image's
# user's, and each kind of peer sees its own key only.
set -eu

made=${MADE:-/made}
owner=${OWNER:-10001}

as_owner() {
    if [ "$(id -u)" = "$owner" ]; then
        "$@"
    else
        setpriv --reuid="$owner" --regid="$owner" --clear-groups "$@"
    fi
}

for folder in broker node edge ui; do
    mkdir -p "$made/$folder"
    chmod 0700 "$made/$folder"
    [ "$(id -u)" = "$owner" ] || chown "$owner:$owner" "$made/$folder"
done
[ -e "$made/broker/broker.key" ] || as_owner understudy keys init --folder "$made/broker"
for peer in node edge ui; do
    if [ ! -e "$made/$peer/$peer.key" ]; then
        as_owner understudy keys new "$peer" --role everything --folder "$made/broker" \
            --out "$made/$peer/$peer.key"
    fi
    as_owner cp "$made/broker/broker.pub" "$made/$peer/broker.pub"
done
