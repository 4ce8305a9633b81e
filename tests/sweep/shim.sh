#!/bin/sh
# Stands in for the program of its name: counts the call, and strikes at the one that was chosen.
# The settings are files beside it, as its callers make their environments from nothing.
here=${0%/*}
name=${0##*/}
set -C # so that two calls at once do not take one number
n=1
until true >"$here/calls/$n"; do n=$((n + 1)); done 2>/dev/null
echo "$name $1 $2 $3" >>"$here/calls/$n"
read -r real <"$here/$name.real"
read -r at <"$here/at"
case $at in
match) read -r match <"$here/match" ;;
*) match= ;;
esac
case "$at $name $1" in
"$n $name $1" | "all "* | "match $match") exec "$here/python" -I -S "$here/strike.py" "$n" "$real" "$@" ;;
esac
exec "$real" "$@"
