{{- define "understudy.name" -}}
{{- if contains "understudy" .Release.Name -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-understudy" (.Release.Name | trunc 19 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "understudy.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* What selects the pods of a part: a dict of root and part. */}}
{{- define "understudy.selector" -}}
app.kubernetes.io/name: understudy
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "understudy.labels" -}}
{{ include "understudy.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "understudy.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.uid }}
runAsGroup: {{ .Values.uid }}
fsGroup: {{ .Values.uid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "understudy.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* How a peer finds the brokers, and its key: a dict of root, secret and key, a file in it.
Kubernetes gives the file to the pod's group, so it counts as a credential, not as a file that others
can read: CREDENTIALS_DIRECTORY says so. */}}
{{- define "understudy.peer" -}}
- name: UNDERSTUDY_URL
  value: tcp://{{ include "understudy.name" .root }}-broker:5577
{{- if .secret }}
- name: CREDENTIALS_DIRECTORY
  value: /etc/understudy/key
- name: UNDERSTUDY_KEY
  value: {{ .key }}
- name: UNDERSTUDY_BROKER_KEY
  value: /etc/understudy/key/broker.pub
{{- end }}
{{- end -}}

{{/* The settings of a group of nodes: its own, else nodeDefaults. A dict of root and node. */}}
{{- define "understudy.node" -}}
{{- mergeOverwrite (deepCopy .root.Values.nodeDefaults) .node | toYaml -}}
{{- end -}}
