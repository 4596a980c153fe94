#!/bin/bash
# The cluster test's client, run in a pod that has nothing but bash: bash client.sh score|load|verify ARGS...
#
#   score ID            one decision; prints the answer's body
#   load FOLDER         scores under ids of its own until FOLDER/stop exists; writes FOLDER/answered.N: "id decision_id",
#                       FOLDER/lost.N: ids whose request was sent and never answered, FOLDER/later.N: refusals to be tried again
#   verify FOLDER       asks for every answered id again; writes FOLDER/wrong.N: "id status decision_id-wanted answer"
#
# A request has a connection of its own and is tried again under the same id until it is answered, as a payment
# system would. FRAUDD_HOST, FRAUDD_KEY and WORKERS come from the environment.
set -u
trap '' PIPE
export TZ=UTC
workers=${WORKERS:-4}

# Sets status and body. Returns 1 without a connection, 2 when a sent request got no answer.
ask() { # METHOD PATH BODY
  local answer=
  status= body=
  { exec 3<>"/dev/tcp/$FRAUDD_HOST/8080"; } 2>/dev/null || return 1
  printf '%s %s HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
    "$1" "$2" "$FRAUDD_HOST" "$FRAUDD_KEY" "${#3}" "$3" >&3 2>/dev/null || { exec 3>&-; return 2; }
  IFS= read -r -d '' -t 30 answer <&3
  exec 3>&-
  [[ $answer == 'HTTP/1.1 '* ]] || return 2
  status=${answer:9:3} body=${answer#*$'\r\n\r\n'}
}

transaction() { # ID TIME NUMBER
  printf '{"transaction_id":"%s","occurred_at":"%s","amount":%d,"currency":"EUR","customer_id":"c-%d","card":{"token":"tok-%d","bin":"411111","country":"FR"},"merchant":{"id":"m-%d","mcc":"5732","country":"FR","terminal_id":"t-%d"},"channel":"pos"}' \
    "$1" "$2" $((1000 + $3 % 5000)) $(($3 % 97)) $(($3 % 89)) $(($3 % 17)) $(($3 % 53))
}

field() { # NAME: the string field of body
  local rest=${body#*\"$1\":\"}
  printf %s "${rest%%\"*}"
}

now() { printf '%(%Y-%m-%dT%H:%M:%SZ)T' -1; }

load() { # FOLDER WORKER
  local number=0 id payload
  while [ ! -e "$1/stop" ]; do
    id=load-$BASHPID-$number
    payload=$(transaction "$id" "$(now)" $number)
    while :; do
      ask POST /v1/decisions "$payload"
      case $? in
      0) [ "$status" = 200 ] && { echo "$id $(field decision_id)" >>"$1/answered.$2"; break; }
        echo "$id $status $(field code)" >>"$1/later.$2" ;;
      1) echo "$id connection" >>"$1/later.$2" ;;
      2) echo "$id" >>"$1/lost.$2" ;;
      esac
      sleep 0.1
    done
    number=$((number + 1))
  done
}

verify() { # FOLDER WORKER
  local id wanted
  while read -r id wanted; do
    ask GET "/v1/decisions/$id" ''
    [ "$status" = 200 ] && [ "$(field decision_id)" = "$wanted" ] || echo "$id $status $wanted ${body:0:200}" >>"$1/wrong.$2"
  done <"$1/answered.$2"
}

case $1 in
score)
  ask POST /v1/decisions "$(transaction "$2" "${3:-$(now)}" 7)" || { echo "no answer ($?)"; exit 1; }
  echo "$status $body" ;;
load | verify)
  for worker in $(seq "$workers"); do "$1" "$2" "$worker" & done
  wait ;;
*) exit 2 ;;
esac
