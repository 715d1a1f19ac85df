#!/bin/sh
# A function for the tests of runtime.rs: speaks the runtime API and does what its payload says.
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while :; do
    answer=$(curl -sSi "$api/next") || exit 1
    id=$(echo "$answer" | tr -d '\r' | sed -n 's/^lambda-runtime-aws-request-id: //p')
    payload=$(echo "$answer" | tail -n 1)
    echo "got $payload"
    case $payload in
        '"die"') kill -9 $$ ;;
        '"hang"') exec sleep 60 ;;
        '"fail"') curl -sS -d '{"errorType":"Broken"}' "$api/$id/error" ;;
        *) curl -sS -d "$payload" "$api/$id/response" ;;
    esac
done
