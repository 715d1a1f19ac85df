#!/bin/sh
# Creates, repairs and checks what a stack of auth0-log-streams needs in Auth0. Needs curl, jq and the AWS CLI.
set -eu

usage() {
  cat <<'END'
usage: ./auth0-setup.sh [--check] [options]

Creates in your Auth0 tenant what the stack needs, or changes what differs from it: the log stream (Payload URL,
token, format, active), and, for a stack with the poller, an application of type Machine to Machine that may read logs,
whose secret goes into the stack's. Shows what it will do first. A second run finds nothing to do.

  --check            changes nothing: says what is missing or wrong, and who switched the stream off and when
  --dry-run          shows what would be done
  --eventbridge      creates the stream to Amazon EventBridge and prints its event source, before the stack exists
  --name <name>      name of stream and application (the stack's name)
  --format <format>  JSONLINES, JSONARRAY or JSONOBJECT (JSONLINES)
  --stack <name>     name of the stack (STACK_NAME; auth0-log-streams)
  --region <region>, --profile <name>   as for the AWS CLI
  --yes              does not ask
  --help             this text

Signing in to Auth0, one of:
  AUTH0_DOMAIN=example.eu.auth0.com AUTH0_TOKEN=<access token of the Management API> ./auth0-setup.sh
  auth0 login --scopes read:client_grants,create:client_grants,update:client_grants,read:client_keys   # Auth0 CLI

The token needs read:, create: and update:log_streams; with the poller also read: and create:clients, read:client_keys, and
read:, create: and update:client_grants; read:logs to say who switched the stream off. --check needs the read: ones.
Without a stack, PAYLOAD_URL and WEBHOOK_TOKEN in the environment set up the stream alone.

Exit status: 0 everything is as it should be, 1 it is not (--check) or failed, 2 wrong usage.
END
}

say() { printf '%s\n' "$*"; }
fail() {
  printf 'auth0-setup.sh: %s\n' "$*" >&2
  exit 1
}
wrong() {
  printf 'auth0-setup.sh: %s\n' "$*" >&2
  exit 2
}

# --- Auth0 -----------------------------------------------------------------------------------

# Calls the Management API: method, path, and a body from standard input unless the method is GET. Prints the answer, or
# nothing if Auth0 has no such thing and the third argument is `optional`.
api() {
  optional=${3-}
  if [ "$1" = GET ]; then body=; else body=$(cat); fi
  if [ -z "$token" ]; then
    answer=$(printf '%s' "$body" | auth0 api "$1" "$2" --no-input --no-color) || fail "the Auth0 CLI refused $1 $2"
    # It ends with 0 whatever Auth0 has answered.
    if [ "$optional" ] && printf '%s' "$answer" | jq -e 'objects | .statusCode == 404' >/dev/null; then return; fi
    if reason=$(printf '%s' "$answer" | jq -er 'objects | select(.statusCode >= 400) | .message'); then fail "$1 $2: $reason"; fi
    printf '%s\n' "$answer"
    return
  fi
  # The token is not an argument, which every process of the machine could read.
  set -- "$1" "$2" "$(printf 'header = "Authorization: Bearer %s"\n' "$token")"
  answer=$({
    printf '%s\n' "$3"
    printf 'request = "%s"\nurl = "%s/api/v2/%s"\n' "$1" "$tenant" "$2"
    if [ -n "$body" ]; then
      printf 'header = "Content-Type: application/json"\n'
      printf 'data = %s\n' "$(printf '%s' "$body" | jq -R .)"
    fi
  } | curl --silent --show-error --max-time 30 --write-out '\n%{http_code}' --config -) || fail "no answer from $tenant"
  code=${answer##*
}
  answer=${answer%
*}
  case $code$optional in
  404optional) ;;
  2??*) printf '%s\n' "$answer" ;;
  401*) fail "$tenant refuses the token: $(printf '%s' "$answer" | jq -r '.message // .' 2>/dev/null)" ;;
  403*) fail "the token lacks a permission for $1 $2: $(printf '%s' "$answer" | jq -r '.message // .' 2>/dev/null)" ;;
  *) fail "$1 $2: $code $(printf '%s' "$answer" | jq -r '.message // .' 2>/dev/null || printf '%s' "$answer" | head -c 200)" ;;
  esac
}

sign_in() {
  for tool in curl jq; do command -v "$tool" >/dev/null || fail "$tool is missing: apt install $tool, or brew install $tool"; done
  token=${AUTH0_TOKEN-}
  if [ -n "$token" ]; then
    tenant=${AUTH0_DOMAIN:-$(parameter Auth0Url)}
    [ -n "$tenant" ] || wrong "AUTH0_DOMAIN=example.eu.auth0.com is missing"
    case $tenant in http*://*) ;; *) tenant=https://$tenant ;; esac
    tenant=${tenant%/}
  else
    command -v auth0 >/dev/null || wrong "sign in to Auth0: AUTH0_DOMAIN and AUTH0_TOKEN, or the Auth0 CLI (--help)"
    tenant=https://$(auth0 tenants list --json --no-input | jq -r '[.[] | select(.active)][0].name // empty')
    [ "$tenant" != https:// ] || fail "the Auth0 CLI has no active tenant: auth0 login"
  fi
  audience=$tenant/api/v2/
}

# --- AWS -------------------------------------------------------------------------------------

parameter() { printf '%s' "$about" | jq -r --arg name "$1" '[.Parameters[]? | select(.ParameterKey == $name).ParameterValue][0] // empty'; }
output() { printf '%s' "$about" | jq -r --arg name "$1" '[.Outputs[]? | select(.OutputKey == $name).OutputValue][0] // empty'; }
# Prints the value of the secret $1, or nothing if it has none yet.
secret_value() {
  if value=$(aws secretsmanager get-secret-value --secret-id "$1" --query SecretString --output text 2>&1); then
    [ "$value" = None ] || printf '%s' "$value"
  else
    case $value in
    *ResourceNotFoundException*) ;;
    *) fail "the secret $1 cannot be read, which needs secretsmanager:GetSecretValue: $(say "$value" | tail -n 1)" ;;
    esac
  fi
}

read_stack() {
  about='{}'
  if [ -n "${PAYLOAD_URL-}" ] || [ "$mode" = eventbridge ]; then return 0; fi
  command -v aws >/dev/null || fail "the AWS CLI is missing; without it, set PAYLOAD_URL and WEBHOOK_TOKEN"
  about=$(aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0]' --output json) ||
    fail "no stack $stack: ./deploy.sh first, or set PAYLOAD_URL and WEBHOOK_TOKEN"
}

# --- steps: each prints its plan, or carries it out --------------------------------------------

plan() {
  planned=yes
  say "  $1"
}

stream_by() { printf '%s' "$streams" | jq -c --arg value "$2" "[.[] | select($1 == \$value)][0] // empty"; }

# Finds the stream, and says what has to change. `carry_out` then does it.
look_at_stream() {
  url=${PAYLOAD_URL:-$(output PayloadUrl)}
  # A stack that no longer uses EventBridge may keep the parameter.
  event_source=
  [ -n "$url" ] || event_source=$(parameter EventSourceName)
  [ -n "$url$event_source" ] || return 0
  streams=$(api GET log-streams)
  if [ -n "$event_source" ]; then
    stream=$(stream_by .sink.awsPartnerEventSource "$event_source")
    [ -n "$stream" ] || plan "there is no stream with the event source $event_source: create one by --eventbridge, and change EventSourceName"
  else
    webhook_token=${WEBHOOK_TOKEN-}
    if [ -z "$webhook_token" ] && [ -n "$(output WebhookSecretArn)" ]; then
      content=$(secret_value "$(output WebhookSecretArn)")
      webhook_token=$(printf '%s' "$content" | jq -r '.token // empty')
    fi
    [ -n "$webhook_token" ] || fail "the webhook's secret has no token: run ./deploy.sh, or set WEBHOOK_TOKEN"
    sink=$(printf '%s' "$webhook_token" | jq -Rc --arg url "$url" --arg format "$format" \
      '{httpEndpoint: $url, httpContentType: "application/json", httpContentFormat: $format, httpAuthorization: .}')
    stream=$(stream_by .sink.httpEndpoint "$url")
    # Not one to EventBridge, which may have the same name.
    [ -n "$stream" ] || stream=$(stream_by '"\(.type) \(.name)"' "http $name")
    if [ -z "$stream" ]; then
      new_stream=$(printf '%s' "$sink" | jq -c --arg name "$name" '{name: $name, type: "http", sink: .}')
      plan "create the log stream $name to $url ($format)"
      return 0
    fi
    # The token may not be shown to everybody who may read streams.
    differing=$(printf '%s\n%s' "$stream" "$sink" | jq -rs '.[0].sink as $is | .[1] | to_entries[]
      | select($is[.key] != .value and (.key != "httpAuthorization" or $is[.key] != null)) | .key')
    if [ -n "$differing" ]; then
      stream_change=$(printf '%s' "$sink" | jq -c '{sink: .}')
      plan "change $(say "$differing" | tr '\n' ' ')of the log stream $(printf '%s' "$stream" | jq -r .name)"
    fi
  fi
  if [ -n "$stream" ]; then
    state=$(printf '%s' "$stream" | jq -r .status)
    if [ "$state" != active ]; then
      stream_status=$(jq -nc '{status: "active"}')
      plan "start the log stream $(printf '%s' "$stream" | jq -r .name), which is $state$(switched_off)"
    fi
    filters=$(printf '%s' "$stream" | jq -r '[.filters[]?.name] | join(", ")')
    [ -z "$filters" ] || say "  note: the stream has a filter, and sends only: $filters"
    if [ "$(printf '%s' "$stream" | jq -r '.pii_config.method // empty')" ]; then say "  note: the stream obscures user data itself"; fi
  fi
}

# Prints who switched the stream off and when, if Auth0's logs still have it. Auth0's own suspension after
# seven days of failure leaves no such event.
switched_off() {
  id=$(printf '%s' "$stream" | jq -r .id)
  found=$(api GET 'logs?q=type%3Asapi&sort=date%3A-1&per_page=100' 2>/dev/null) || return 0
  printf '%s' "$found" | jq -r --arg path "/api/v2/log-streams/$id" --arg state "$state" '[.[]
    | select(.details.request.path == $path and (.details.request.body.status? == $state))][0]
    | if . then " since \(.date), by \(.details.request.auth.user.email // .client_name // .user_name // "an API client")" else "" end'
}

# Prints the id of the application with the stream's name, which may be on any page.
client_by_name() {
  page=0
  while :; do
    clients=$(api GET "clients?fields=client_id%2Cname%2Capp_type&include_fields=true&is_global=false&per_page=100&page=$page")
    found=$(printf '%s' "$clients" | jq -r --arg name "$name" '[.[] | select(.name == $name and .app_type == "non_interactive").client_id][0] // empty')
    if [ -n "$found" ] || [ "$(printf '%s' "$clients" | jq length)" -lt 100 ]; then break; fi
    page=$((page + 1))
  done
  printf '%s' "$found"
}

look_at_application() {
  arn=$(output Auth0SecretArn)
  [ -n "$arn" ] || return 0
  content=$(secret_value "$arn")
  filled=$(printf '%s' "$content" | jq -r '.client_id // empty' 2>/dev/null || true)
  [ -z "$content" ] || [ -n "$filled" ] || fail "the secret $arn has no client_id: correct it by hand"
  if [ -n "$filled" ]; then
    client=$(api GET "clients/$filled?fields=client_id&include_fields=true" optional)
    client=$(printf '%s' "$client" | jq -r '.client_id // empty')
    [ -n "$client" ] || plan "the stack's secret names the application $filled, which does not exist in this tenant: correct $arn by hand"
  else
    client=$(client_by_name)
    if [ -z "$client" ]; then plan "create the application $name (Machine to Machine)"; fi
    plan "put its client id and secret into the stack's secret"
  fi
  grant='' lacking=
  if [ -n "$client" ]; then
    grant=$(api GET "client-grants?client_id=$client&audience=$(printf '%s' "$audience" | jq -Rr @uri)")
    grant=$(printf '%s' "$grant" | jq -c '.[0] // empty')
    lacking=$(printf '%s' "${grant:-null}" | jq -r '["read:logs", "read:logs_users"] - (.scope // []) | join(" ")')
  elif [ -z "$filled" ]; then
    lacking="read:logs read:logs_users"
  fi
  [ -z "$lacking" ] || plan "grant it $lacking on the Management API"
}

carry_out() {
  if [ -n "$new_stream" ]; then
    printf '%s' "$new_stream" | api POST log-streams >/dev/null
  fi
  for change in "$stream_change" "$stream_status"; do
    [ -z "$change" ] || printf '%s' "$change" | api PATCH "log-streams/$(printf '%s' "$stream" | jq -r .id)" >/dev/null
  done
  [ -n "$arn" ] || return 0
  if [ -z "$filled" ]; then
    if [ -z "$client" ]; then
      made=$(jq -nc --arg name "$name" '{name: $name, app_type: "non_interactive", grant_types: ["client_credentials"]}' | api POST clients)
      client=$(printf '%s' "$made" | jq -r .client_id)
    else
      made=$(api GET "clients/$client?fields=client_id%2Cclient_secret&include_fields=true")
    fi
    printf '%s' "$made" | jq -ce '{client_id, client_secret} | select(.client_secret)' |
      aws secretsmanager put-secret-value --secret-id "$arn" --secret-string file:///dev/stdin >/dev/null ||
      fail "the application's secret cannot be read or stored: it needs read:client_keys, and secretsmanager:PutSecretValue"
  fi
  if [ -n "$lacking" ] && [ -n "$client" ]; then
    if [ -z "$grant" ]; then
      jq -nc --arg client "$client" --arg audience "$audience" '{client_id: $client, audience: $audience, scope: ["read:logs", "read:logs_users"]}' |
        api POST client-grants >/dev/null
    else
      printf '%s' "$grant" | jq -c '{scope: (.scope + ["read:logs", "read:logs_users"] | unique)}' |
        api PATCH "client-grants/$(printf '%s' "$grant" | jq -r .id)" >/dev/null
    fi
  fi
}

# The stream to Amazon EventBridge, whose event source the stack's parameter EventSourceName takes.
eventbridge() {
  account=$(aws sts get-caller-identity --query Account --output text) || fail "no valid AWS credentials"
  region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
  [ -n "$region" ] || wrong "which region? --region eu-west-1"
  streams=$(api GET log-streams)
  stream=$(printf '%s' "$streams" | jq -c --arg account "$account" --arg region "$region" \
    '[.[] | select(.type == "eventbridge" and .sink.awsAccountId == $account and .sink.awsRegion == $region)][0] // empty')
  if [ -z "$stream" ]; then
    plan "create the log stream $name to Amazon EventBridge in the account $account, $region"
    agree
    stream=$(jq -nc --arg name "$name" --arg account "$account" --arg region "$region" \
      '{name: $name, type: "eventbridge", sink: {awsAccountId: $account, awsRegion: $region}}' | api POST log-streams)
  fi
  say "Deploy at once: until then, Auth0's events are dropped."
  say "EventSourceName=$(printf '%s' "$stream" | jq -r .sink.awsPartnerEventSource)"
}

# Ends here unless there is something to do, and it is to be done.
agree() {
  [ -z "$dry_run" ] || exit 0
  [ -z "$yes" ] || return 0
  [ -t 0 ] || wrong "not a terminal: --yes agrees"
  printf 'Do it? [y/N]: '
  read -r answer || answer=
  case $answer in [yY] | [yY][eE][sS]) ;; *) fail "nothing is changed" ;; esac
}

main() {
  stack=${STACK_NAME:-auth0-log-streams}
  mode=setup name='' format=JSONLINES dry_run='' yes='' planned=''
  new_stream='' stream_change='' stream_status='' stream='' arn='' client='' filled='' lacking='' state=''
  while [ $# -gt 0 ]; do
    case $1 in --name | --format | --stack | --region | --profile) [ $# -gt 1 ] || wrong "$1 needs a value (--help)" ;; esac
    case $1 in
    --check) mode=check ;;
    --dry-run) dry_run=yes ;;
    --eventbridge) mode=eventbridge ;;
    --name) name=$2 && shift ;;
    --format) format=$2 && shift ;;
    --stack) stack=$2 && shift ;;
    --region) export AWS_REGION="$2" && shift ;;
    --profile) export AWS_PROFILE="$2" && shift ;;
    --yes) yes=yes ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) wrong "unknown option $1 (--help)" ;;
    esac
    shift
  done
  case $format in JSONLINES | JSONARRAY | JSONOBJECT) ;; *) wrong "--format is JSONLINES, JSONARRAY or JSONOBJECT" ;; esac
  # Version 1 of the AWS CLI reads this one alone.
  [ -z "${AWS_REGION-}" ] || export AWS_DEFAULT_REGION="$AWS_REGION"
  name=${name:-$stack}
  read_stack
  sign_in
  if [ "$mode" = eventbridge ]; then
    eventbridge
    exit 0
  fi
  say "$tenant:"
  look_at_stream
  look_at_application
  if [ -z "$planned" ]; then
    say "  everything is as it should be"
    exit 0
  fi
  if [ "$mode" = check ]; then exit 1; fi
  agree
  carry_out
  say "Done."
}

main "$@"
