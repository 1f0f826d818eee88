{{/* What a generator's name stands for: (list $ name), Triton's if it is served there */}}
{{- define "edgeloop.generator" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $found := $name -}}
{{- if and $root.Values.triton.enabled (ne $root.Values.triton.repository.kind "url") -}}
{{- range $root.Values.triton.generators -}}
{{- if or (eq .name $name) (not $found) }}{{ $found = printf "triton://%s/%s" (include "edgeloop.triton.address" $root) .name }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $found }}
{{- end }}

{{/* An aggregator's file: (list $ name task) */}}
{{- define "edgeloop.task" -}}
{{- $root := index . 0 -}}
{{- $own := deepCopy (index . 2) -}}
{{- if or $own.generator (eq $own.algorithm "fedktl") }}
{{- with include "edgeloop.generator" (list $root (default "" $own.generator)) }}{{ $_ := set $own "generator" . }}{{ end }}
{{- end }}
{{- $_ := set $own "name" (index . 1) }}
{{- $_ = set $own "folder" "/var/lib/edgeloop" }}
{{- if include "edgeloop.database.secret" $root }}{{ $_ = set $own "store_file" "/etc/edgeloop/store/url" }}{{ end }}
{{- with include "edgeloop.authority.url" $root }}{{ $_ := set $own "authority" . }}{{ end }}
{{- include "edgeloop.toml" $own | trim }}

{{ include "edgeloop.broker.table" (list $root (include "edgeloop.broker.host" $root) (include "edgeloop.broker.port" $root)) }}

[http]
host = "0.0.0.0"
port = 9464
linger = true
{{- with include "edgeloop.trace.table" $root | trim }}

{{ . }}
{{- end }}
{{- end }}
