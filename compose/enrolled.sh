# A device of compose.enrolment.yaml: it enrols by its token, once, and takes part from then on.
set -eu
identity=/var/lib/edgeloop/identity/$DEVICE
[ -e "$identity/device.crt" ] || edgeloop enroll --server https://authority:8443 --ca-file /srv/tokens/ca.crt \
  --token-file "/srv/tokens/$DEVICE" --name "$DEVICE" --folder "$identity"
exec edgeloop agent --config /etc/edgeloop/device.toml --name "$DEVICE"
