{{- define "edgeloop.operator.name" -}}
{{ include "edgeloop.fullname" . }}-operator
{{- end }}

{{/* The namespaces that the operator looks after, as JSON */}}
{{- define "edgeloop.operator.namespaces" -}}
{{- toJson (default (list .Release.Namespace) .Values.operator.watchNamespaces | uniq) }}
{{- end }}

{{/* Where the operator has the authority that signs its aggregators; nothing if it signs none */}}
{{- define "edgeloop.operator.authority" -}}
{{- if and (include "edgeloop.authority.secret" .) (ne (include "edgeloop.signatures" .) "off") }}/etc/edgeloop/authority{{ end }}
{{- end }}

{{/* Where the operator has the token that it shows to the authority that devices enrol at; nothing without one */}}
{{- define "edgeloop.operator.access" -}}
{{- if and .Values.authority.enabled (include "edgeloop.operator.authority" .) }}/etc/edgeloop/access{{ end }}
{{- end }}

{{/* A name of every Triton pod's address, HOST:PORT; nothing where one Triton is enough, or is elsewhere */}}
{{- define "edgeloop.operator.tritonPods" -}}
{{- if and (include "edgeloop.triton.several" .) (include "edgeloop.triton.claim" .) }}
{{- printf "%s-triton-pods.%s.svc:8001" (include "edgeloop.fullname" .) .Release.Namespace }}
{{- end }}
{{- end }}

{{/* What the operator is told by its environment: `edgeloop operator --help` */}}
{{- define "edgeloop.operator.environment" -}}
{{- $external := .Values.broker.external -}}
{{- $own := not .Values.broker.enabled -}}
NAMESPACE: {{ include "edgeloop.operator.namespaces" . | fromJsonArray | join " " }}
LEASE_NAMESPACE: {{ .Release.Namespace }}
LEASE_NAME: {{ include "edgeloop.operator.name" . }}
AGGREGATOR_IMAGE: {{ include "edgeloop.image" (list . .Values.aggregator.image) }}
GENERATOR_IMAGE: {{ include "edgeloop.image" (list . .Values.generatorService.image) }}
PULL_POLICY: {{ .Values.image.pullPolicy }}
PULL_SECRET: {{ include "edgeloop.pullSecrets" . | fromJsonArray | join " " | quote }}
BROKER_HOST: {{ include "edgeloop.broker.host" . }}
BROKER_PORT: {{ include "edgeloop.broker.port" . | quote }}
BROKER_SECRET: {{ include "edgeloop.tls.secret" (list . "aggregator") | quote }}
BROKER_CLIENT_CERTIFICATES: {{ .Values.tls.clientCertificates | quote }}
BROKER_USERNAME: {{ ternary $external.username "" $own | quote }}
BROKER_PASSWORD_SECRET: {{ ternary $external.passwordSecret.name "" $own | quote }}
BROKER_PASSWORD_KEY: {{ $external.passwordSecret.key }}
{{- if $own }}
{{- range $name, $key := dict "TRANSPORT" "transport" "PATH" "path" "ALPN" "alpn" "PROXY" "proxy" "PREFIX" "prefix" "CLIENT_ID_PREFIX" "clientIdPrefix" }}
{{- with index $external $key }}
BROKER_{{ $name }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
SIGNATURES: {{ include "edgeloop.signatures" . | quote }}
AUTHORITY_FOLDER: {{ include "edgeloop.operator.authority" . | quote }}
AUTHORITY_URL: {{ include "edgeloop.authority.url" . | quote }}
AUTHORITY_TOKEN_FILE: {{ with include "edgeloop.operator.access" . }}{{ printf "%s/operator.token" . | quote }}{{ else }}""{{ end }}
CERTIFICATE_DAYS: {{ .Values.tls.generated.days | quote }}
DATABASE_SECRET: {{ include "edgeloop.database.secret" . | quote }}
DATABASE_KEY: {{ include "edgeloop.database.key" . }}
TRITON: {{ include "edgeloop.triton.address" . | quote }}
TRITON_PODS: {{ include "edgeloop.operator.tritonPods" . | quote }}
TRITON_SECRET: {{ include "edgeloop.triton.secret" . | quote }}
TRITON_SECRET_KEY: {{ include "edgeloop.triton.secretKey" . }}
REPOSITORY_CLAIM: {{ include "edgeloop.triton.claim" . | quote }}
STORE_CLAIM: {{ .Values.operator.storeClaim | quote }}
TRACE_ENDPOINT: {{ .Values.trace.endpoint | quote }}
{{- if .Values.trace.endpoint }}
TRACE_SAMPLING: {{ .Values.trace.sampling | quote }}
TRACE_HEADERS_SECRET: {{ .Values.trace.headersSecret.name | quote }}
TRACE_HEADERS_KEY: {{ .Values.trace.headersSecret.key }}
{{- end }}
ALGORITHM: {{ join " " .Values.operator.algorithms | quote }}
TASK_NAMES: {{ .Values.operator.taskNames }}
FORGET: {{ .Values.operator.forgetSeconds | quote }}
HOST: 0.0.0.0
PORT: "9465"
LOG_LEVEL: {{ .Values.operator.logLevel }}
LOG_FORMAT: {{ .Values.logFormat }}
{{- end }}
