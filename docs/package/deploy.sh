#!/bin/sh
# shellcheck disable=SC2154 # The parameters and what `about` sets are in parameters.sh.
# Installs, changes, upgrades and deletes auth0-log-streams with the AWS CLI alone.
set -eu

usage() {
  cat <<'END'
usage: ./deploy.sh [options] [<Parameter>=<value> ...]

Installs this release as a CloudFormation stack, or upgrades the stack to it. Without a terminal, nothing is
asked. Parameters are those of template.yaml; they may also be environment variables. A stack keeps its values.

  --change <Parameter>=<value>   changes a stack that exists; as often as needed
  --delete                       deletes the stack; queues, checkpoint and documents stay
  --dry-run                      checks everything and says what would be done, but changes nothing
  --stack <name>                 name of the stack (STACK_NAME; auth0-log-streams)
  --bucket <name>                your bucket for the functions' code (CODE_BUCKET); created if you agree
  --region <region>              AWS region (AWS_REGION)
  --profile <name>               profile of the AWS CLI (AWS_PROFILE)
  --yes                          agrees to every question
  --help                         this text

Secrets are asked for without an echo, or taken from the environment: SEARCH_USERNAME and SEARCH_PASSWORD, or
SEARCH_API_KEY; WEBHOOK_TOKEN (a random one if unset); AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET.

Exit status: 0 done, 1 failed, 2 wrong usage or a wrong parameter.
END
}

say() { printf '%s\n' "$*"; }
fail() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}
wrong() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 2
}

folder=$(cd -- "$(dirname -- "$0")" && pwd)
# `make package` writes it.
# shellcheck source=/dev/null
. "$folder/parameters.sh"

# --- parameters ------------------------------------------------------------------------------

value_of() { eval "printf '%s' \"\${$1-}\""; }

is_parameter() {
  case $1 in CodeBucket | CodePrefix) return 1 ;; esac
  case " $PARAMETERS " in *" $1 "*) ;; *) return 1 ;; esac
}

# Prints why CloudFormation would refuse the value $2 of the parameter $1, or nothing.
invalid() {
  about "$1"
  if [ -n "$allowed" ]; then
    case "|$allowed|" in *"|$2|"*) ;; *) say "must be one of $allowed" | sed 's/|/, /g' ;; esac
  elif [ -n "$pattern" ] && ! printf '%s\n' "$2" | grep -Eqx -- "$pattern"; then
    say "${hint:-must match $pattern}"
  elif [ "${#2}" -gt "$longest" ]; then
    say "must have at most $longest characters"
  elif [ -n "$least" ]; then
    case $2 in
    '' | *[!0-9]* | ??????*) say "must be a number from $least to $most" ;;
    *) if [ "$2" -lt "$least" ] || [ "$2" -gt "$most" ]; then say "must be a number from $least to $most"; fi ;;
    esac
  fi
}

# Takes <Parameter>=<value>.
choose() {
  case $1 in *=*) ;; *) wrong "$1 is not <Parameter>=<value> (--help)" ;; esac
  name=${1%%=*}
  is_parameter "$name" || wrong "there is no parameter $name; see template.yaml"
  reason=$(invalid "$name" "${1#*=}")
  [ -z "$reason" ] || wrong "$1: $reason"
  eval "$name=\${1#*=}"
  case " $chosen " in *" $name "*) ;; *) chosen="$chosen $name" ;; esac
}

# Asks for the parameter $1 until the answer is one that CloudFormation would take.
ask_parameter() {
  about "$1"
  say ""
  say "$description" | fold -s -w 100
  [ -z "$allowed" ] || say "One of: $allowed" | sed 's/|/, /g'
  current=$(value_of "$1")
  while :; do
    printf '%s [%s]: ' "$1" "$current"
    read -r answer || fail "no answer: nothing is deployed"
    answer=${answer:-$current}
    [ "$answer" != - ] || answer=
    reason=$(invalid "$1" "$answer")
    [ -n "$reason" ] || break
    say "  ${answer:-empty}: $reason"
  done
  choose "$1=$answer"
}

# --- talking ---------------------------------------------------------------------------------

agreed() {
  [ -z "$yes" ] || return 0
  [ -n "$terminal" ] || return 1
  printf '%s [y/N]: ' "$1"
  read -r answer || return 1
  case $answer in [yY] | [yY][eE][sS]) ;; *) return 1 ;; esac
}

# Prints a line that is typed without an echo, after the prompt $1.
typed_secret() {
  trap 'stty echo; exit 1' INT TERM
  stty -echo
  printf '%s: ' "$1" >&2
  read -r line || line=
  stty echo
  trap - INT TERM
  echo >&2
  printf '%s' "$line"
}

# Prints the value of the variable $1, or what is typed after the prompt $2.
secret() {
  given=$(value_of "$1")
  if [ -z "$given" ] && [ -n "$terminal" ]; then given=$(typed_secret "$2"); fi
  case $given in *[[:cntrl:]]*) fail "$2: control characters are not allowed" ;; esac
  printf '%s' "$given"
}

# Prints a JSON object of names and values.
object() {
  separator='{'
  while [ $# -gt 1 ]; do
    printf '%s"%s":"%s"' "$separator" "$1" "$(printf '%s' "$2" | sed 's/["\\]/\\&/g')"
    separator=,
    shift 2
  done
  printf '}'
}

# --- AWS -------------------------------------------------------------------------------------

stack_status() {
  if found=$(aws cloudformation describe-stacks --stack-name "$stack" --output text \
    --query 'Stacks[0].StackStatus' 2>&1); then
    say "$found"
  else
    case $found in *"does not exist"*) ;; *) fail "$found" ;; esac
  fi
}

output() {
  aws cloudformation describe-stacks --stack-name "$stack" --output text \
    --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}

# Prints why the last operation failed.
reasons() {
  aws cloudformation describe-stack-events --stack-name "$stack" --max-items 60 --output text --query \
    "StackEvents[?ends_with(ResourceStatus, '_FAILED') && !contains(ResourceStatusReason || '', 'cancelled')].[LogicalResourceId, ResourceStatusReason]" |
    grep -v '^None' | head -3 | sed 's/^/  /; s/	/: /'
}

# Waits for the end of an operation, and sets $status.
settle() {
  while :; do
    status=$(stack_status)
    case $status in *_IN_PROGRESS) ;; *) break ;; esac
    [ -z "$terminal" ] || printf '.'
    sleep 3
  done
  [ -z "$terminal" ] || echo
}

delete_stack() {
  aws cloudformation delete-stack --stack-name "$stack"
  settle
  [ -z "$status" ] || [ "$status" = DELETE_COMPLETE ] || fail "$stack is $status:
$(reasons)"
}

put_secret() { aws secretsmanager put-secret-value --secret-id "$1" --secret-string file:///dev/stdin >/dev/null; }

# Tells whether the secret $1 has no value yet.
is_empty() {
  if found=$(aws secretsmanager get-secret-value --secret-id "$1" --query SecretString --output text 2>&1); then
    [ -z "$found" ] || [ "$found" = None ]
  else
    case $found in *ResourceNotFoundException*) ;; *) fail "$found" ;; esac
  fi
}

# --- steps -----------------------------------------------------------------------------------

check_machine() {
  command -v aws >/dev/null || fail "the AWS CLI is missing: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
  region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
  [ -n "$region" ] || fail "which region? --region eu-west-1, or aws configure"
  export AWS_REGION="$region" AWS_DEFAULT_REGION="$region"
  account=$(aws sts get-caller-identity --query Account --output text) || fail "no valid AWS credentials (aws configure, or --profile)"
}

# Sets each parameter to its chosen value, that of the stack, or the default.
read_parameters() {
  deployed=
  if [ -n "$exists" ]; then
    deployed=$(aws cloudformation describe-stacks --stack-name "$stack" --output text \
      --query 'Stacks[0].Parameters[].[ParameterKey, ParameterValue]')
  fi
  for name in $PARAMETERS; do
    case " $chosen " in *" $name "*) continue ;; esac
    about "$name"
    eval "$name=\$default"
    line=$(say "$deployed" | grep "^$name	" || true)
    [ -z "$line" ] || eval "$name=\${line#*	}"
  done
  CodePrefix=$(about CodePrefix && printf '%s' "$default")
}

ask_parameters() {
  say "Enter takes what is in [brackets], - means empty, Ctrl-C leaves everything as it is."
  for name in SearchEndpoint SearchSignIn Inputs MaskUserData AlarmTopicArn; do
    case " $chosen " in *" $name "*) continue ;; esac
    ask_parameter "$name"
  done
}

# Prints the content of the engine's secret, or nothing.
search_credentials() {
  user=${SEARCH_USERNAME-}
  if [ -z "${SEARCH_API_KEY-}$user" ] && [ -n "$terminal" ]; then
    printf 'User name (empty = API key): ' >&2
    read -r user || user=
  fi
  if [ -n "$user" ]; then
    password=$(secret SEARCH_PASSWORD "Password of $user")
    [ -z "$password" ] || object username "$user" password "$password"
  else
    key=$(secret SEARCH_API_KEY "API key (encoded)")
    [ -z "$key" ] || object api_key "$key"
  fi
}

# The index template is installed at once, which needs the engine's credentials.
make_search_secret() {
  [ "$SearchSignIn$InstallIndexTemplate$SearchSecretArn$SetupSecretArn" = secrettrue ] || return 0
  name=$stack/search
  arn=$(aws secretsmanager describe-secret --secret-id "$name" --query ARN --output text 2>/dev/null || true)
  if [ -n "$dry_run" ]; then
    [ -n "$arn" ] || say "would create the secret $name with the engine's credentials"
    choose "SearchSecretArn=${arn:-arn:aws:secretsmanager:$region:$account:secret:$name-000000}"
    return 0
  fi
  if [ -z "$arn" ] || [ -n "${SEARCH_API_KEY-}${SEARCH_USERNAME-}" ] ||
    { [ -n "$terminal" ] && ! agreed "Use the engine's credentials in the secret $name?"; }; then
    say ""
    say "The engine's credentials, which the secret $name will hold:"
    content=$(search_credentials)
    [ -n "$content" ] || fail "no credentials of the engine: set SearchSecretArn, or SEARCH_USERNAME and SEARCH_PASSWORD, or SEARCH_API_KEY"
    if [ -n "$arn" ]; then
      printf '%s' "$content" | put_secret "$arn"
    else
      arn=$(printf '%s' "$content" | aws secretsmanager create-secret --name "$name" --query ARN --output text \
        --description "Engine: written by deploy.sh" --secret-string file:///dev/stdin)
    fi
  fi
  choose "SearchSecretArn=$arn"
}

check_rules() {
  while line=$(broken | head -1) && [ -n "$line" ]; do
    [ -n "$terminal" ] || wrong "${line%% *}: ${line#* }"
    say ""
    say "${line#* }"
    ask_parameter "${line%% *}"
  done
}

# Clears up what a first deployment that failed has left.
clear_up() {
  case $status in
  ROLLBACK_COMPLETE | ROLLBACK_FAILED | CREATE_FAILED | DELETE_FAILED | REVIEW_IN_PROGRESS) ;;
  UPDATE_ROLLBACK_FAILED)
    fail "$stack could not go back to its last state; the way out is: aws cloudformation continue-update-rollback --stack-name $stack
$(reasons)"
    ;;
  *_IN_PROGRESS) fail "$stack is being changed ($status): try again later" ;;
  *) return 0 ;;
  esac
  say "The stack $stack is in $status, from which AWS only lets it be deleted."
  reasons
  if [ -n "$dry_run" ] || ! agreed "Delete what is left of it, and deploy again?"; then
    fail "nothing is deployed; the way out is: aws cloudformation delete-stack --stack-name $stack"
  fi
  delete_stack
  status=
}

find_bucket() {
  CodeBucket=${bucket:-$CodeBucket}
  if [ -z "$CodeBucket" ]; then
    CodeBucket=auth0-log-streams-$account-$region
    if [ -n "$terminal" ]; then
      say ""
      printf 'Your bucket for the code, in %s [%s]: ' "$region" "$CodeBucket"
      read -r answer || fail "no answer: nothing is deployed"
      CodeBucket=${answer:-$CodeBucket}
    fi
  fi
  if aws s3api head-bucket --bucket "$CodeBucket" >/dev/null 2>&1; then return 0; fi
  if [ -n "$dry_run" ]; then
    say "would create the bucket $CodeBucket"
  else
    agreed "There is no bucket $CodeBucket, or you may not use it. Create it?" || fail "no bucket $CodeBucket (--yes creates it)"
    aws s3 mb "s3://$CodeBucket" --region "$region" >/dev/null
  fi
}

upload() {
  for file in "$folder"/functions/*-"$Architecture".zip; do
    key=$CodePrefix${file##*/}
    if [ -n "$dry_run" ]; then
      say "would upload s3://$CodeBucket/$key"
    elif ! aws s3api head-object --bucket "$CodeBucket" --key "$key" >/dev/null 2>&1; then
      say "uploading ${file##*/}"
      aws s3 cp --only-show-errors "$file" "s3://$CodeBucket/$key"
    fi
  done
}

# Makes a change set, shows it, and carries it out.
deploy_stack() {
  set -- "CodeBucket=$CodeBucket" "CodePrefix=$CodePrefix"
  for name in $chosen; do set -- "$@" "$name=$(value_of "$name")"; done
  made=$(aws cloudformation deploy --stack-name "$stack" --template-file "$folder/template.yaml" \
    --s3-bucket "$CodeBucket" --s3-prefix "${CodePrefix%/}" --capabilities CAPABILITY_IAM \
    --no-fail-on-empty-changeset --no-execute-changeset --parameter-overrides "$@" 2>&1) || fail "$made"
  change_set=$(say "$made" | grep -o 'arn:[^ ]*:changeSet/[^ ]*' | head -1 || true)
  if [ -z "$change_set" ]; then
    say "Nothing to change: the stack has this release and these parameters."
    return 0
  fi
  say "What will change:"
  aws cloudformation describe-change-set --change-set-name "$change_set" --output text --query \
    'Changes[].ResourceChange.[Action, ResourceType, LogicalResourceId]' | sort | sed 's/^/  /'
  if [ -n "$terminal" ] && ! agreed "Deploy?"; then
    aws cloudformation delete-change-set --change-set-name "$change_set" >/dev/null
    [ -n "$exists" ] || aws cloudformation delete-stack --stack-name "$stack"
    fail "nothing is deployed"
  fi
  aws cloudformation execute-change-set --change-set-name "$change_set"
  # The first state after it may still be the last one.
  sleep 2
  status=REVIEW_IN_PROGRESS
  settle
  case $status in
  CREATE_COMPLETE | UPDATE_COMPLETE) say "$stack is $status." ;;
  *)
    say "$stack is $status:" >&2
    reasons >&2
    [ "$status" != ROLLBACK_COMPLETE ] || say "Run ./deploy.sh again: it deletes what is left." >&2
    fail "not deployed; documents, queues and checkpoint of an older release are as before"
    ;;
  esac
}

# Fills the secrets that the stack has created empty.
fill_secrets() {
  webhook=$(output WebhookSecretArn)
  if [ -n "$webhook" ] && is_empty "$webhook"; then
    token=${WEBHOOK_TOKEN:-Bearer $(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}
    object token "$token" | put_secret "$webhook"
    say "The webhook's secret has a token."
  fi
  auth0=$(output Auth0SecretArn)
  if [ -n "$auth0" ] && is_empty "$auth0"; then
    say "The poller needs an application of type Machine to Machine, with read:logs and read:logs_users."
    client=${AUTH0_CLIENT_ID-}
    if [ -z "$client" ] && [ -n "$terminal" ]; then
      printf 'Client ID (empty = later): '
      read -r client || client=
    fi
    if [ -n "$client" ]; then client_secret=$(secret AUTH0_CLIENT_SECRET "Client secret"); fi
    if [ -n "$client" ] && [ -n "$client_secret" ]; then
      object client_id "$client" client_secret "$client_secret" | put_secret "$auth0"
    else
      say "Fill it in later: run ./deploy.sh again, or ./auth0-setup.sh creates the application."
    fi
  fi
}

next_steps() {
  url=$(output PayloadUrl)
  if [ -n "$url" ]; then
    cat <<END

In Auth0: ./auth0-setup.sh --stack $stack creates the stream, or by hand:
  Monitoring > Streams > Create Stream > Custom Webhook
  Payload URL           $url
  Authorization Token   ${token:-"token" in the secret $webhook}
  Content Type          application/json
  Content Format        JSON Lines
END
  fi
  topic=$(output AlertTopicArn)
  [ -z "$topic" ] || cat <<END

Alerts of the detections: aws sns subscribe --topic-arn $topic --protocol email --notification-endpoint <address>
END
  cat <<END

Dashboard: $(output DashboardUrl)
Is it working? ./auth0-logs --stack $stack
To change a parameter: ./deploy.sh --stack $stack --change <Parameter>=<value>
END
}

delete() {
  [ -n "$exists" ] || fail "there is no stack $stack in $region"
  cat <<END
The stack $stack in $region will be deleted. What stays:
  documents, index template and lifecycle in the engine
  the queues, the checkpoint table and the key of the hashes, because what they hold is nowhere else
  the secret $stack/search, if deploy.sh created it
  the code in the bucket $CodeBucket
Delete or pause the log stream in Auth0 first: its posts will fail.
END
  if [ -n "$dry_run" ]; then return 0; fi
  agreed "Delete $stack?" || fail "nothing is deleted (--yes agrees)"
  delete_stack
  say "$stack is deleted."
}

main() {
  stack=${STACK_NAME:-auth0-log-streams}
  bucket=${CODE_BUCKET-}
  mode=deploy
  chosen='' dry_run='' yes='' token=''
  terminal=
  if [ -t 0 ]; then terminal=yes; fi
  for name in $PARAMETERS; do
    if is_parameter "$name" && eval "[ -n \"\${$name+set}\" ]"; then choose "$name=$(value_of "$name")"; fi
  done
  while [ $# -gt 0 ]; do
    case $1 in
    --change | --stack | --bucket | --region | --profile) [ $# -gt 1 ] || wrong "$1 needs a value (--help)" ;;
    esac
    case $1 in
    --change)
      mode=change
      choose "$2"
      shift
      ;;
    --stack) stack=$2 && shift ;;
    --bucket) bucket=$2 && shift ;;
    --region) export AWS_REGION="$2" && shift ;;
    --profile) export AWS_PROFILE="$2" && shift ;;
    --delete) mode=delete ;;
    --dry-run) dry_run=yes ;;
    --yes) yes=yes ;;
    --help | -h)
      usage
      exit 0
      ;;
    -*) wrong "unknown option $1 (--help)" ;;
    *) choose "$1" ;;
    esac
    shift
  done
  check_machine
  status=$(stack_status)
  if [ "$mode" != delete ]; then clear_up; fi
  exists=$status
  read_parameters
  if [ "$mode" = delete ]; then
    delete
    exit 0
  fi
  [ -n "$exists" ] || [ "$mode" = deploy ] || fail "there is no stack $stack in $region to change"
  if [ -z "$exists" ]; then
    if [ -n "$terminal" ]; then ask_parameters; fi
    [ -n "$SearchEndpoint" ] || wrong "SearchEndpoint is missing: SearchEndpoint=https://search.example.com"
    make_search_secret
  fi
  check_rules
  find_bucket
  upload
  if [ -n "$dry_run" ]; then
    verb=create
    [ -z "$exists" ] || verb=update
    say "would $verb the stack $stack in $region with:"
    for name in $chosen; do say "  $name=$(value_of "$name")"; done
    exit 0
  fi
  deploy_stack
  fill_secrets
  next_steps
}

main "$@"
