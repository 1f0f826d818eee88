{{/* Names */}}

{{- define "edgeloop.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 long, so that with a component's name and a pod's number it is at most 63. */}}
{{- define "edgeloop.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "edgeloop.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "edgeloop.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "edgeloop.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Labels of every object: (list $ "component") */}}
{{- define "edgeloop.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ include "edgeloop.chart" $root }}
{{ include "edgeloop.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: edgeloop
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels by which a component's pods are found: (list $ "component") */}}
{{- define "edgeloop.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "edgeloop.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of a component's pods: without versions, or every upgrade would start them again */}}
{{- define "edgeloop.podLabels" -}}
{{ include "edgeloop.selectorLabels" . }}
app.kubernetes.io/part-of: edgeloop
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An image of edgeloop's own: (list $ .Values.aggregator.image) */}}
{{- define "edgeloop.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository -}}
{{- with default $root.Values.global.imageRegistry $root.Values.image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}
{{- else }}{{ $name }}:{{ default $root.Chart.AppVersion $root.Values.image.tag }}{{ end }}
{{- end }}

{{/* An image of somebody else's: (list $ .Values.broker.image); a registry for all has it by its path */}}
{{- define "edgeloop.foreignImage" -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository -}}
{{- with (index . 0).Values.global.imageRegistry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^[^/]*[.:][^/]*/" $name "") }}{{ end -}}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}{{ else }}{{ $name }}:{{ $image.tag }}{{ end }}
{{- end }}

{{/* The service account of a component: (list $ .Values.triton.serviceAccount "triton") */}}
{{- define "edgeloop.serviceAccountName" -}}
{{- $account := index . 1 -}}
{{- $made := printf "%s-%s" (include "edgeloop.fullname" (index . 0)) (index . 2) -}}
{{- if $account.create }}{{ default $made $account.name }}{{ else }}{{ default "default" $account.name }}{{ end }}
{{- end }}

{{/* What every pod has: (list $ .Values.broker "broker"), the component's values and its name */}}
{{- define "edgeloop.pod" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "edgeloop.pullSecrets" $root | fromJsonArray }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
  {{- toYaml $component.podSecurityContext | nindent 2 }}
{{- with $component.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $component.terminationGracePeriodSeconds }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
{{- end }}

{{/* Names of the secrets for registries, as JSON */}}
{{- define "edgeloop.pullSecrets" -}}
{{- toJson (concat .Values.global.imagePullSecrets .Values.image.pullSecrets | uniq) }}
{{- end }}

{{/* The part of a secret's or an object's name that stands for a device: its name, if that can be one */}}
{{- define "edgeloop.deviceName" -}}
{{- $plain := regexReplaceAll "[^a-z0-9]+" (lower .) "-" | trimAll "-" | trunc 24 | trimAll "-" -}}
{{- if regexMatch "^[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?$" . }}{{ . }}{{ else }}{{ printf "%s-%s" $plain (sha256sum . | trunc 8) | trimAll "-" }}{{ end }}
{{- end }}

{{/* The broker */}}

{{- define "edgeloop.tls" -}}
{{- if ne .Values.tls.source "none" }}true{{ end }}
{{- end }}

{{/* Where the cluster's own pods reach the broker: where devices enrol, a Service and a listener of their own */}}
{{- define "edgeloop.broker.host" -}}
{{- if .Values.authority.enabled }}
{{- printf "%s-broker-services.%s.svc" (include "edgeloop.fullname" .) .Release.Namespace }}
{{- else }}
{{- include "edgeloop.broker.deviceHost" . }}
{{- end }}
{{- end }}

{{- define "edgeloop.broker.port" -}}
{{- if .Values.authority.enabled }}8884{{ else }}{{ include "edgeloop.broker.devicePort" . }}{{ end }}
{{- end }}

{{/* Where devices reach it */}}
{{- define "edgeloop.broker.deviceHost" -}}
{{- if .Values.broker.enabled }}
{{- printf "%s-broker.%s.svc" (include "edgeloop.fullname" .) .Release.Namespace }}
{{- else }}
{{- .Values.broker.external.host }}
{{- end }}
{{- end }}

{{- define "edgeloop.broker.devicePort" -}}
{{- if not .Values.broker.enabled }}{{ .Values.broker.external.port }}
{{- else if .Values.broker.service.port }}{{ .Values.broker.service.port }}
{{- else }}{{ include "edgeloop.broker.listener" . }}{{ end }}
{{- end }}

{{- define "edgeloop.broker.listener" -}}
{{- ternary "8883" "1883" (eq (include "edgeloop.tls" .) "true") }}
{{- end }}

{{/* The secret with somebody's certificate: (list $ "aggregator"); nothing without TLS */}}
{{- define "edgeloop.tls.secret" -}}
{{- $root := index . 0 -}}
{{- $who := index . 1 -}}
{{- if eq $root.Values.tls.source "secrets" }}{{ get $root.Values.tls.secrets $who }}
{{- else if ne $root.Values.tls.source "none" }}{{ include "edgeloop.fullname" $root }}-{{ $who }}-tls{{ end }}
{{- end }}

{{/* Who shows which certificate to the bundled broker, as JSON: name of the secret's part -> {name, task} */}}
{{- define "edgeloop.tls.clients" -}}
{{- $clients := dict "aggregator" (dict "name" "aggregator") -}}
{{- if and .Values.agent.enabled (not .Values.agent.certificatePath) }}{{ $_ := set $clients "agent" (dict "name" "agents") }}{{ end -}}
{{- range .Values.tls.devices }}{{ $_ := set $clients (include "edgeloop.tls.device" .) (ternary . (dict "name" .) (kindIs "map" .)) }}{{ end -}}
{{- toJson $clients }}
{{- end }}

{{/* The part of a secret's name that stands for a device of tls.devices; one in two tasks has two */}}
{{- define "edgeloop.tls.device" -}}
{{- if kindIs "map" . }}device-{{ include "edgeloop.deviceName" (printf "%s.%s" .task .name) }}{{ else }}device-{{ include "edgeloop.deviceName" . }}{{ end }}
{{- end }}

{{/* The secret with the authority that signs aggregators: tls.crt, tls.key; nothing if the chart has none */}}
{{- define "edgeloop.authority.secret" -}}
{{- $own := or (and (eq .Values.tls.source "generated") .Values.broker.enabled) (and (eq .Values.tls.source "cert-manager") (not .Values.tls.certManager.issuerRef.name)) -}}
{{- if .Values.tls.authoritySecret }}{{ .Values.tls.authoritySecret }}
{{- else if $own }}{{ include "edgeloop.fullname" . }}-authority{{ end }}
{{- end }}

{{/* Where devices enrol */}}
{{- define "edgeloop.authority.url" -}}
{{- if .Values.authority.enabled }}{{ printf "https://%s-authority.%s.svc:%d" (include "edgeloop.fullname" .) .Release.Namespace (int .Values.authority.service.port) }}{{ end }}
{{- end }}

{{/* The secret with the authority that signs devices that enrol */}}
{{- define "edgeloop.authority.devices" -}}
{{- default (printf "%s-devices-authority" (include "edgeloop.fullname" .)) .Values.authority.devicesSecret }}
{{- end }}

{{/* The secret with the tokens for its HTTP */}}
{{- define "edgeloop.authority.access" -}}
{{ include "edgeloop.fullname" . }}-authority-access
{{- end }}

{{/* Whether tasks are signed: required, accepted or off */}}
{{- define "edgeloop.signatures" -}}
{{- $asked := toString .Values.tls.signatures -}}
{{- if eq $asked "false" }}off
{{- else if $asked }}{{ $asked }}
{{- else if .Values.authority.enabled }}required
{{- else if include "edgeloop.authority.secret" . }}accepted
{{- else }}off{{ end }}
{{- end }}

{{/* What the broker's certificate is for, as JSON: {"hosts": [...], "addresses": [...]} */}}
{{- define "edgeloop.tls.names" -}}
{{- $service := printf "%s-broker" (include "edgeloop.fullname" .) -}}
{{- $space := .Release.Namespace -}}
{{- $hosts := list $service (printf "%s.%s" $service $space) (printf "%s.%s.svc" $service $space) (printf "%s.%s.svc.%s" $service $space .Values.clusterDomain) -}}
{{- if .Values.authority.enabled }}{{ $hosts = append $hosts (include "edgeloop.broker.host" .) }}{{ end -}}
{{- $addresses := list -}}
{{- range append .Values.tls.extraNames .Values.authority.brokerHost | compact | uniq -}}
{{- if or (regexMatch "^[0-9]+(\\.[0-9]+){3}$" .) (contains ":" .) }}{{ $addresses = append $addresses . }}{{ else }}{{ $hosts = append $hosts . }}{{ end -}}
{{- end -}}
{{- toJson (dict "hosts" $hosts "addresses" $addresses) }}
{{- end }}

{{/* The [broker] table of an aggregator: (list $ host port) with the certificate in /etc/edgeloop/tls */}}
{{- define "edgeloop.broker.table" -}}
{{- $root := index . 0 -}}
[broker]
host = {{ index . 1 | toJson }}
port = {{ index . 2 }}
connect_seconds = 60
{{- if include "edgeloop.tls" $root }}
ca_file = "/etc/edgeloop/tls/ca.crt"
{{- if $root.Values.tls.clientCertificates }}
certificate_file = "/etc/edgeloop/tls/tls.crt"
key_file = "/etc/edgeloop/tls/tls.key"
{{- end }}
{{- end }}
{{- if not $root.Values.broker.enabled }}
{{- with $root.Values.broker.external.username }}
username = {{ . | toJson }}
{{- end }}
{{- if $root.Values.broker.external.passwordSecret.name }}
password_file = "/etc/edgeloop/broker/password"
{{- end }}
{{- $external := $root.Values.broker.external }}
{{- range $key, $value := dict "transport" $external.transport "path" $external.path "alpn" $external.alpn "proxy" $external.proxy "prefix" $external.prefix "client_id_prefix" $external.clientIdPrefix }}
{{- with $value }}
{{ $key }} = {{ . | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The [broker] table of a device that has enrolled, which knows all else: (list $ host port) */}}
{{- define "edgeloop.enrolled.table" -}}
[broker]
host = {{ index . 1 | toJson }}
port = {{ index . 2 }}
connect_seconds = 60
{{- end }}

{{/* A container that enrols a device, unless it has: (list $ container name folder token resources); its own mounts follow */}}
{{- define "edgeloop.enrol" -}}
{{- $root := index . 0 -}}
- name: {{ index . 1 }}
  image: {{ include "edgeloop.image" (list $root $root.Values.agent.image) }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args: {{ list "enroll" "--server" (include "edgeloop.authority.url" $root) "--ca-file" "/etc/edgeloop/authority/ca.crt" "--token-file" (index . 4) "--name" (index . 2) "--folder" (index . 3) "--keep" | toJson }}
  env:
    {{- if contains "NODE_NAME" (index . 2) }}
    - name: NODE_NAME
      valueFrom:
        fieldRef:
          fieldPath: spec.nodeName
    {{- end }}
    {{- include "edgeloop.environment" (list $root 1) | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- toYaml $root.Values.securityContext | nindent 4 }}
  resources:
    {{- toYaml (index . 5) | nindent 4 }}
  volumeMounts:
    - {name: authority, mountPath: /etc/edgeloop/authority, readOnly: true}
    - {name: tmp, mountPath: /tmp}
{{- end }}

{{/* The certificate that the authority is known by, and no key */}}
{{- define "edgeloop.enrol.authority" -}}
- name: authority
  secret:
    secretName: {{ include "edgeloop.authority.secret" . }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: ca.crt}
{{- end }}

{{/* Volumes of whoever speaks to the broker: (list $ secret) */}}
{{- define "edgeloop.broker.volumes" -}}
{{- $root := index . 0 -}}
{{- with index . 1 }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- if not $root.Values.broker.enabled }}
{{- with $root.Values.broker.external.passwordSecret }}
{{- if .name }}
- name: broker
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: password
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "edgeloop.broker.mounts" -}}
{{- $root := index . 0 -}}
{{- if index . 1 }}
- name: tls
  mountPath: /etc/edgeloop/tls
  readOnly: true
{{- end }}
{{- if and (not $root.Values.broker.enabled) $root.Values.broker.external.passwordSecret.name }}
- name: broker
  mountPath: /etc/edgeloop/broker
  readOnly: true
{{- end }}
{{- end }}

{{/* The database: the secret with its URL, and the key; nothing for SQLite */}}

{{- define "edgeloop.database.secret" -}}
{{- if .Values.database.existingSecret.name }}{{ .Values.database.existingSecret.name }}
{{- else if or .Values.database.url .Values.database.bundled.enabled }}{{ include "edgeloop.fullname" . }}-database{{ end }}
{{- end }}

{{- define "edgeloop.database.key" -}}
{{- if .Values.database.existingSecret.name }}{{ .Values.database.existingSecret.key }}{{ else }}url{{ end }}
{{- end }}

{{/* Triton's gRPC address, HOST:PORT; nothing if there is none */}}
{{- define "edgeloop.triton.address" -}}
{{- if .Values.triton.enabled }}
{{- printf "%s-triton.%s.svc:8001" (include "edgeloop.fullname" .) .Release.Namespace }}
{{- else }}
{{- .Values.triton.external }}
{{- end }}
{{- end }}

{{/* The secret of whoever may control Triton; nothing if there is none */}}
{{- define "edgeloop.triton.secret" -}}
{{- if .Values.triton.control.existingSecret.name }}{{ .Values.triton.control.existingSecret.name }}
{{- else if .Values.triton.enabled }}{{ include "edgeloop.fullname" . }}-triton-control{{ end }}
{{- end }}

{{- define "edgeloop.triton.secretKey" -}}
{{- if .Values.triton.control.existingSecret.name }}{{ .Values.triton.control.existingSecret.key }}{{ else }}secret{{ end }}
{{- end }}

{{/* The claim with Triton's model repository; nothing for the other kinds */}}
{{- define "edgeloop.triton.claim" -}}
{{- if and .Values.triton.enabled (eq .Values.triton.repository.kind "claim") }}
{{- default (printf "%s-triton" (include "edgeloop.fullname" .)) .Values.triton.repository.claim.existingClaim }}
{{- end }}
{{- end }}

{{/* Whether more than one Triton may run */}}
{{- define "edgeloop.triton.several" -}}
{{- $t := .Values.triton -}}
{{- if $t.autoscaling.enabled }}{{ if gt (int $t.autoscaling.maxReplicas) 1 }}true{{ end }}
{{- else if $t.keda.enabled }}{{ if gt (int $t.keda.maxReplicas) 1 }}true{{ end }}
{{- else if gt (int $t.replicaCount) 1 }}true{{ end }}
{{- end }}

{{/* A table as TOML: its plain values, then its tables, one level deep */}}
{{- define "edgeloop.toml" -}}
{{- range $key, $value := . }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := . }}
{{- if kindIs "map" $value }}

[{{ $key }}]
{{- range $inner, $each := $value }}
{{ $inner }} = {{ toJson $each }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Traces: the table of a file, and the secret with headers */}}
{{- define "edgeloop.trace.table" -}}
{{- with .Values.trace -}}
{{- if .endpoint }}
[trace]
endpoint = {{ .endpoint | toJson }}
sampling = {{ .sampling | float64 | printf "%.6f" }}
{{- if .headersSecret.name }}
headers_file = "/etc/edgeloop/trace/headers"
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "edgeloop.trace.volumes" -}}
{{- with .Values.trace -}}
{{- if and .endpoint .headersSecret.name }}
- name: trace
  secret:
    secretName: {{ .headersSecret.name }}
    defaultMode: 0440
    items:
      - key: {{ .headersSecret.key }}
        path: headers
{{- end }}
{{- end }}
{{- end }}

{{- define "edgeloop.trace.mounts" -}}
{{- with .Values.trace -}}
{{- if and .endpoint .headersSecret.name }}
- name: trace
  mountPath: /etc/edgeloop/trace
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{/* What every container of ours is told by its environment: (list $ threads) */}}
{{- define "edgeloop.environment" -}}
- name: HOME
  value: /tmp
- name: ORT_DISABLE_TELEMETRY
  value: "1"
- name: OMP_NUM_THREADS
  value: {{ index . 1 | quote }}
{{- with (index . 0).Values.logFormat }}
{{- if ne . "plain" }}
- name: EDGELOOP_LOG_FORMAT
  value: {{ . }}
{{- end }}
{{- end }}
{{- end }}
