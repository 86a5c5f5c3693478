{{/* The name of the daemons' objects: the release's, with "redlockd" in it. */}}
{{- define "redlockd.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains "redlockd" $name) }}{{ $name = printf "%s-redlockd" $name }}{{ end -}}
{{- trunc 40 $name | trimSuffix "-" -}}
{{- end }}

{{/* The names of the nodes' and the exporter's objects. */}}
{{- define "redlockd.nodes" -}}{{ include "redlockd.name" . }}-redis{{- end }}
{{- define "redlockd.exporter" -}}{{ include "redlockd.name" . }}-redis-exporter{{- end }}

{{/* What selects the pods of a component of this release: (list . "redlockd"). */}}
{{- define "redlockd.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{/* The labels of an object of a component: (list . "redlockd"). */}}
{{- define "redlockd.labels" -}}
{{ include "redlockd.selector" . }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{/* The addresses of the nodes, one per line, separated by commas. */}}
{{- define "redlockd.addresses" -}}
{{- if .Values.nodes.create -}}
{{- $nodes := include "redlockd.nodes" . -}}
{{- $addresses := list -}}
{{- range $i := until (int .Values.nodes.replicas) -}}
{{- $host := printf "%s-%d.%s:6379" $nodes $i $nodes -}}
{{- if $.Values.secure.enabled -}}
{{- $addresses = append $addresses (printf "redis://redlockd@%s?password_file=/etc/redlockd/node/password" $host) -}}
{{- else -}}
{{- $addresses = append $addresses (printf "redis://%s" $host) -}}
{{- end -}}
{{- end -}}
{{- join ",\n" $addresses -}}
{{- else -}}
{{- if not .Values.nodes.addresses }}{{ fail "nodes.addresses is empty: name the Redis nodes, or set nodes.create to true" }}{{ end -}}
{{- join ",\n" .Values.nodes.addresses -}}
{{- end -}}
{{- end }}

{{/* The environment of the daemons without what extraEnv replaces. */}}
{{- define "redlockd.env" -}}
- name: REDLOCKD_NODE
  value: >-
{{ include "redlockd.addresses" . | indent 4 }}
{{- if .Values.secure.enabled }}
- {name: REDLOCKD_TLS_CERT, value: /etc/redlockd/tls/tls.crt}
- {name: REDLOCKD_TLS_KEY, value: /etc/redlockd/tls/tls.key}
- {name: REDLOCKD_TLS_CLIENT_CA, value: /etc/redlockd/tls/ca.crt}
- {name: REDLOCKD_ACCESS_LIST, value: /etc/redlockd/access/access.toml}
{{- else }}
- {name: REDLOCKD_INSECURE, value: "true"}  # the network policy restricts access
{{- end }}
- {name: REDLOCK_SERVER, value: "unix:/run/redlockd/redlockd.sock"}  # of redlockctl
{{- end }}
