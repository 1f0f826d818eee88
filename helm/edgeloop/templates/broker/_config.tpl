{{/* Mosquitto's files: its configuration, and who may do what */}}
{{- define "edgeloop.broker.config" -}}
mosquitto.conf: |
  persistence true
  persistence_location /mosquitto/data/
  autosave_interval 60
  persistent_client_expiration {{ .Values.broker.sessionExpiry }}
  max_queued_messages {{ .Values.broker.maxQueuedMessages }}
  max_packet_size {{ int64 .Values.broker.maxPacketBytes }}
  log_dest stdout
  log_type error
  log_type warning
  log_type notice
  connection_messages true
  {{- if .Values.authority.enabled }}
  pid_file /mosquitto/identities/mosquitto.pid
  acl_file /mosquitto/identities/rights.acl
  allow_anonymous false
  check_retain_source true
  {{- range $signer, $port := dict "services" "8884" "devices" "8883" }}
  listener {{ $port }}
  cafile /mosquitto/identities/{{ $signer }}.crt
  crlfile /mosquitto/identities/{{ $signer }}.crl
  certfile /mosquitto/tls/tls.crt
  keyfile /mosquitto/tls/tls.key
  tls_version tlsv1.2
  require_certificate true
  {{- if eq $signer "devices" }}
  # One device, one connection: its certificate is its name and its client id.
  use_subject_as_username true
  use_username_as_clientid true
  {{- else }}
  use_identity_as_username true
  {{- end }}
  {{- end }}
  {{- else }}
  listener {{ include "edgeloop.broker.listener" . }}
  {{- if include "edgeloop.tls" . }}
  cafile /mosquitto/tls/ca.crt
  certfile /mosquitto/tls/tls.crt
  keyfile /mosquitto/tls/tls.key
  tls_version tlsv1.2
  require_certificate true
  use_identity_as_username true
  allow_anonymous false
  acl_file /mosquitto/config/rights.acl
  {{- else }}
  allow_anonymous true
  {{- end }}
  {{- end }}
  {{- with .Values.broker.extraConfig }}
  {{- . | trim | nindent 2 }}
  {{- end }}
{{- if and (include "edgeloop.tls" .) (not .Values.authority.enabled) }}
# A client's name is its certificate's common name.
rights.acl: |
  {{- range concat (list "aggregator") .Values.broker.trusted }}
  user {{ . }}
  topic readwrite edgeloop/v1/#
  {{- end }}
  {{- if and .Values.agent.enabled (not .Values.agent.certificatePath) }}
  user agents
  topic write edgeloop/v1/+/upload/+
  topic readwrite edgeloop/v1/+/presence/+
  topic read edgeloop/v1/+/receipt/+
  topic read edgeloop/v1/+/desired/+/+
  topic write edgeloop/v1/+/applied/+/+
  {{- end }}
  pattern read edgeloop/v1/+/contract
  pattern read edgeloop/v1/+/round
  pattern read edgeloop/v1/+/broadcast/#
  pattern read edgeloop/v1/+/receipt/%u
  pattern read edgeloop/v1/+/predict/%u
  pattern write edgeloop/v1/+/predicted/%u/#
  pattern read edgeloop/v1/+/predicted/%u/server
  pattern read edgeloop/v1/+/desired/%u/+
  pattern read edgeloop/v1/+/shipped/#
  pattern write edgeloop/v1/+/applied/%u/+
  pattern write edgeloop/v1/+/upload/%u
  pattern readwrite edgeloop/v1/+/presence/%u
{{- end }}
{{- end }}
