{{- define "longrun.name" -}}
{{- printf "%s" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "longrun.selector" -}}
app.kubernetes.io/name: longrun
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "longrun.labels" -}}
{{ include "longrun.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
