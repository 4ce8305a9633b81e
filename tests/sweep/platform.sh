#!/bin/sh
# Stands for a platform: remembers what it was asked for, and serves what it deployed last.
here=$(dirname "$0")/platform
echo "$1 $DATAOPS_WORKSPACE $DATAOPS_COMMIT begins" >>"$here/log"
test ! -e "refuses-$1" || exit 1
test "$1" != deploy || echo "$DATAOPS_COMMIT" >"$here/current"
echo "$1 $DATAOPS_WORKSPACE $DATAOPS_COMMIT ends" >>"$here/log"
