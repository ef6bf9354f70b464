{{- define "dyno-server.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 54 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 54 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "dyno-server.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dyno-server.labels" -}}
{{ include "dyno-server.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "dyno-server.image" -}}
{{- $tag := .tag | default .default -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ $tag }}{{- end -}}
{{- end }}

{{- define "dyno-server.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "dyno-server.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{/* The arguments: what the chart sets, and the flags of `config`. A flag that the image's server does not know keeps it
from starting, which with an environment variable it would not. */}}
{{- define "dyno-server.args" -}}
- --listen={{ .Values.listenAddress }}:{{ .Values.service.port }}
- --metrics-listen={{ .Values.listenAddress }}:{{ .Values.metrics.port }}
- --bundles=/bundles
- --drain-delay={{ .Values.drain.delaySeconds }}s
- --drain-timeout={{ .Values.drain.timeoutSeconds }}s
{{- if .Values.tls.secretName }}
- --tls-cert=/etc/dyno-server/tls/tls.crt
- --tls-key=/etc/dyno-server/tls/tls.key
{{- with .Values.tls.clientCaSecret.name }}
- --tls-client-ca=/etc/dyno-server/client-ca/ca.crt
{{- end }}
{{- else }}
- --allow-plaintext
{{- if .Values.tls.clientCaSecret.name }}
{{- fail "tls.clientCaSecret needs tls.secretName: certificates of clients are seen where TLS ends" }}
{{- end }}
{{- end }}
{{- with .Values.auth.keysSecret.name }}
- --keys=/etc/dyno-server/keys/keys
{{- end }}
{{- with .Values.auth.jwt }}
{{- if .secretName }}
- --jwt-keys=/etc/dyno-server/jwt/jwks.json
- --jwt-audience={{ required "auth.jwt.audience is needed with auth.jwt.secretName" .audience }}
{{- with .issuer }}
- --jwt-issuer={{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- $own := list "listen" "metrics-listen" "bundles" "tls-cert" "tls-key" "tls-client-ca" "allow-plaintext" "keys" "jwt-keys" "jwt-audience" "jwt-issuer" "drain-delay" "drain-timeout" -}}
{{- range $name, $value := .Values.config }}
{{- if has $name $own }}
{{- fail (printf "config.%s is set by the chart: use its own value (bundles, tls, auth, drain, service, metrics)" $name) }}
{{- end }}
{{- if kindIs "bool" $value }}
{{- if $value }}
- --{{ $name }}
{{- end }}
{{- else if kindIs "string" $value }}
- {{ printf "--%s=%s" $name $value | quote }}
{{- else if eq (float64 $value) (float64 (int64 $value)) }}
- --{{ $name }}={{ int64 $value }}
{{- else }}
- --{{ $name }}={{ $value }}
{{- end }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
