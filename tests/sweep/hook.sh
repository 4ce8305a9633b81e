#!/bin/sh
# A hook of a target's repository: strikes inside the push, at the state that was chosen.
here=SHIMS
name=${0##*/}
read -r mode chosen <"$here/hook" 2>/dev/null || exit 0
test "$name $1" = "$chosen" || test "$name" = "$chosen" || exit 0
rm "$here/hook"
touch "$here/struck"
read -r subject <"$here/subject"
kill -s KILL "$subject"
case $mode in
push) kill -s KILL 0 ;;
push-hang) sleep 60 ;;
esac
