# Makes what compose.enrolment.yaml begins with; again, it makes only what is not there.
set -eu
authority=/srv/authority broker=/srv/broker aggregator=/srv/aggregator tokens=/srv/tokens
host=${EDGELOOP_HOST:-localhost}
if [ ! -e $authority/devices.crt ]; then
  edgeloop ca init --folder $authority --host authority --host localhost --host "$host" --listen 0.0.0.0 --port 8443
  cat >>$authority/authority.toml <<END
broker_folder = "$broker"
broker_pid_file = "$broker/mosquitto.pid"
broker_host = "broker"
broker_port = 8883
END
fi
if [ ! -e $broker/broker.crt ]; then
  edgeloop ca issue broker --folder $authority --host broker --host localhost --host "$host" --out $broker
  edgeloop broker config --folder $broker --services-listen 0.0.0.0
fi
[ -e $aggregator/aggregator.crt ] || edgeloop ca issue aggregator --folder $authority --task shop-floor --out $aggregator
for device in press-1 press-2; do
  [ -e $tokens/$device ] || edgeloop ca tokens --folder $authority --task shop-floor --name $device >$tokens/$device
done
cp $authority/services.crt $tokens/ca.crt
