#!/bin/sh
# agent.sh LOG: the agent of the state machine (test_faults_machine.py). One process a turn.
#
# LOG/<task>.letters says what each turn does, a letter a turn, `w` for all later ones. Whatever it writes holds a token
# that nobody else writes; once the bytes are there, `path token` is appended to LOG/<task>.tokens.
#   w write   f write and fail   n nothing   a ask, then write   s write, then work until interrupted
#   b write what the check refuses   c write what the other tasks write too   i write an ignored file   k commit by itself
log=$1
id=$STRETTO_TASK
n=0
[ -e "$log/$id.turn" ] && read -r n <"$log/$id.turn"
n=$((n + 1))
echo $n >"$log/$id.turn"
letters=
[ -e "$log/$id.letters" ] && read -r letters <"$log/$id.letters"
# shellcheck disable=SC2086
set -- $letters
[ $n -le $# ] && shift $((n - 1)) || set -- w
letter=$1
token="$id-$n-$$"
read -r header <"$STRETTO_PROMPT_FILE"

write() {
  echo "$token" >"$1" && echo "$1 $token" >>"$log/$id.tokens"
}

merge() {
  for word in $header; do
    case $word in merge=*) git merge --quiet --no-edit "${word#merge=}" >/dev/null 2>&1 ;; esac
  done
  write shared.txt
  git add shared.txt
  git commit --quiet --no-edit --allow-empty
}

case $header in *origin=conflict*) merge && exit 0 ;; esac
rm -f bad
case $letter in
  f) write "$token.txt" && exit 3 ;;
  n) echo "nothing to do" ;;
  a) stretto agent ask "Which colour?" --option red --option blue && write "$token.txt" ;;
  s) write "$token.txt" && exec sleep 600 ;;
  b) write bad ;;
  c) write shared.txt ;;
  i) write "$token.log" && write "$token.txt" ;;
  k) write "$token.txt" && git add --all && git commit --quiet --message "$token" ;;
  *) write "$token.txt" ;;
esac
